"""What came of the answers: files of the log joined by request, in DuckDB.

DuckDB reads the files column by column, works in bounded memory and on one thread without holding the interpreter, and
takes any file system of fsspec. The rules of the join are in docs/outcomes.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from recsys.errors import TooLarge
from recsys.outcomes.log_files import HOUR_MS, LogFiles, begin_of
from recsys.outcomes.measures import Measures

if TYPE_CHECKING:
    import duckdb

Dimension = Literal["scenario", "day", "position", "source", "version", "variant"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

EARLY_S = 60.0
"""Seconds that an event may lie before the answer that it names: the caller's clock may be behind."""
_MEMORY = "512MB"
"""What does not fit goes to a temporary folder."""
_TRIES = 3
"""Files that are listed may be made one file before they are read."""

_ANSWERS = """
CREATE TEMP TABLE answers AS
SELECT request_id, moment, strftime(moment, '%Y-%m-%d') AS day, scenario, version, variant, items, sources{more}
FROM answer_rows WHERE moment >= $start AND moment < $end
QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY moment DESC, entry DESC, place DESC) = 1
"""
"""Of several answers with one request_id the last one counts. `more`: further columns, each after a comma."""

_EVENTS = """
CREATE TEMP TABLE events AS
SELECT request_id, item_id, role, coalesce(value, 0) AS value, moment
FROM outcome_rows JOIN roles USING (type) WHERE moment >= $earliest
QUALIFY row_number() OVER (PARTITION BY request_id, event_id, item_id, role ORDER BY entry, place) = 1
"""
"""An event that came several times counts once."""

_MATCHED = """
CREATE TEMP TABLE matched AS
SELECT answers.request_id, role, value, coalesce(list_position(items, item_id), 0) AS position,
  events.moment >= answers.moment - to_microseconds($early)
    AND events.moment <= answers.moment + to_microseconds($window) AS timely
FROM events JOIN answers USING (request_id)
"""

_SHOWN = """
CREATE TEMP TABLE shown AS
WITH hits AS (
  SELECT request_id, position, bool_or(role = 'impression') AS seen, bool_or(role = 'click') AS clicked,
    bool_or(role = 'conversion') AS converted, sum(value) FILTER (role = 'conversion') AS value
  FROM matched WHERE timely AND position > 0 GROUP BY ALL
), places AS (
  SELECT request_id, day, scenario, version, variant,
    unnest(CASE WHEN len(items) = 0 THEN [0] ELSE range(1, len(items) + 1) END) AS position, unnest(sources) AS source
  FROM answers
)
SELECT places.*, coalesce(seen, false) AS seen, coalesce(clicked, false) AS clicked,
  coalesce(converted, false) AS converted, coalesce(value, 0) AS value
FROM places LEFT JOIN hits USING (request_id, position)
"""
"""One row for each place of an answer; an answer without items has one at position 0."""

_MEASURES = """
  count(DISTINCT request_id) AS answers,
  count(*) FILTER (position > 0) AS items,
  count(*) FILTER (seen) AS impressions,
  count(*) FILTER (clicked) AS clicks,
  count(*) FILTER (clicked AND seen) AS clicks_of_impressions,
  count(DISTINCT request_id) FILTER (clicked) AS answers_with_click,
  count(*) FILTER (converted) AS conversions,
  count(DISTINCT request_id) FILTER (converted) AS answers_with_conversion,
  sum(value) AS value
"""


@dataclass(frozen=True, slots=True)
class Question:
    """Answers from `start` to before `end`, in Unix seconds. `roles`: event type -> what it is to an answer."""

    start: float
    end: float
    by: Sequence[Dimension]
    window_s: float
    roles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """`key`: the values of the dimensions asked for, in their order."""

    key: tuple[str | int | None, ...]
    measures: Measures


@dataclass(frozen=True, slots=True)
class Report:
    groups: tuple[Group, ...]
    total: Measures
    repeated_answers: int
    """Answers whose request_id a later one has: that one counts."""
    lost_answers: int
    """Answers of the period that were given and are not in the log: it was full, or Redis was away for long."""
    lost_outcomes: int
    """The same of outcomes."""
    untimely: int
    """Events that came too long after their answer, or lie before it."""
    elsewhere: int
    """Events about an item that the answer they name does not have."""
    unknown: int
    """Events of the period that name an answer which was not logged in it, or in the window before."""


T = TypeVar("T")


def report(files: LogFiles, question: Question) -> Report:
    """Raises TooLarge where the period holds more than memory and disk can take, OSError when files cannot be read."""
    return answered(files, lambda database: _report(database, files, question))


def answered(files: LogFiles, ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
    """Ask a database of its own, which can reach the files. Raises as `report` does."""
    import duckdb  # noqa: PLC0415 - a composer that is asked for no report need not hold it

    for tries_left in reversed(range(_TRIES)):
        try:
            with _database(files) as database:
                return ask(database)
        except duckdb.OutOfMemoryException as error:
            raise TooLarge(
                f"from: the answers of the period fit neither in {_MEMORY} nor on the disk; ask for a shorter one",
                field="from",
            ) from error
        except duckdb.Error as error:
            if not tries_left:
                raise OSError(f"the log of answers cannot be read: {error}") from error
    raise AssertionError("unreachable")


@contextmanager
def _database(files: LogFiles) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory(prefix="recsys-report-") as scratch:
        settings: dict[str, Any] = {
            "threads": 1,
            "memory_limit": _MEMORY,
            "temp_directory": scratch,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        database = duckdb.connect(":memory:", config=settings)
        try:
            database.execute("SET enable_progress_bar = false")  # it is written to stdout, after two seconds
            if files.remote is not None:
                database.register_filesystem(files.remote)
            yield database
        finally:
            database.close()


def join(database: duckdb.DuckDBPyConnection, files: LogFiles, question: Question, more: str = "") -> None:
    """Make the tables `answers`, with further columns, `events` and `matched`, and the view `answer_rows`."""
    # Of the window before the period as well: its events may name those answers.
    paths = _paths(files, "answers", question.start - question.window_s, question.end)
    _rows(database, "answer_rows", paths, _NO_ANSWERS)
    # Outcomes may come as late as they like: it is their own time that counts.
    _rows(database, "outcome_rows", _paths(files, "outcomes", question.start, None), _NO_OUTCOMES)
    database.execute("CREATE TEMP TABLE roles (type VARCHAR, role VARCHAR)")
    if question.roles:
        database.executemany("INSERT INTO roles VALUES (?, ?)", list(question.roles.items()))
    period = {"start": _time(question.start), "end": _time(question.end)}
    database.execute(_ANSWERS.format(more=more), period)
    database.execute(_EVENTS, {"earliest": _time(question.start - EARLY_S)})
    database.execute(_MATCHED, {"early": round(EARLY_S * 1e6), "window": round(question.window_s * 1e6)})


def every_answer(database: duckdb.DuckDBPyConnection, files: LogFiles) -> None:
    """Make the view `answer_rows` of all files."""
    _rows(database, "answer_rows", _paths(files, "answers", 0.0, None), _NO_ANSWERS)


def _report(database: duckdb.DuckDBPyConnection, files: LogFiles, question: Question) -> Report:
    join(database, files, question)
    database.execute(_SHOWN)
    period = {"start": _time(question.start), "end": _time(question.end)}
    by = ", ".join(question.by)
    grouped = f"SELECT {by}, {_MEASURES} FROM shown GROUP BY {by} ORDER BY {by}"  # noqa: S608 - of DIMENSIONS
    rows = database.execute(grouped).fetchall() if by else []
    total = _one(database, f"SELECT {_MEASURES} FROM shown")  # noqa: S608 - a constant
    count = len(question.by)
    return Report(
        groups=tuple(Group(tuple(row[:count]), Measures.of(row[count:])) for row in rows),
        total=Measures.of(total),
        repeated_answers=_number(
            database, "SELECT count(*) FROM answer_rows WHERE moment >= $start AND moment < $end", period
        )
        - Measures.of(total).answers,
        lost_answers=_lost(database, "answer_rows", question),
        lost_outcomes=_lost(database, "outcome_rows", question),
        untimely=_number(database, "SELECT count(*) FROM matched WHERE NOT timely AND position > 0"),
        elsewhere=_number(database, "SELECT count(*) FROM matched WHERE position = 0"),
        unknown=_number(
            database,
            "SELECT count(*) FROM events ANTI JOIN answer_rows USING (request_id) WHERE events.moment >= $start "
            "AND events.moment < $end",
            period,
        ),
    )


_ROW = "entry VARCHAR, place INTEGER, lost INTEGER, user VARCHAR, moment TIMESTAMP, request_id VARCHAR"
_NO_ANSWERS = (
    f"{_ROW}, scenario VARCHAR, version VARCHAR, variant VARCHAR, items VARCHAR[], sources VARCHAR[], "
    "scores FLOAT[], propensities FLOAT[], teams TINYINT[], context VARCHAR"
)
_NO_OUTCOMES = f"{_ROW}, event_id VARCHAR, item_id VARCHAR, type VARCHAR, value DOUBLE"


def _rows(database: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str], columns: str) -> None:
    """The rows of the files as a view; a table without rows where there are no files."""
    if not paths:
        database.execute(f"CREATE TEMP TABLE {name} ({columns})")
        return
    # Files of an earlier release may lack a column.
    database.read_parquet(list(paths), union_by_name=True).create_view(name)


def _paths(files: LogFiles, kind: str, start: float, end: float | None) -> list[str]:
    """Files that may hold rows of the period. Redis takes a row a little after its time, or hours later where it was
    away; `end` None: until now.
    """
    paths = []
    for hour in files.hours(kind):
        begins_s = begin_of(hour) / 1000
        if begins_s + HOUR_MS / 1000 > start - EARLY_S and (end is None or begins_s < end + _BEHIND_S):
            paths += [files.path(kind, hour, name) for name in files.sizes(kind, hour)]
    return paths


_BEHIND_S = 6 * 3600.0
"""Seconds for which answers may have waited in a composer before Redis took them."""


def _lost(database: duckdb.DuckDBPyConnection, rows: str, question: Question) -> int:
    """By the time at which Redis took the entry that tells of them."""
    period = {"start": round(question.start * 1000), "end": round(question.end * 1000)}
    taken = "CAST(split_part(entry, '-', 1) AS BIGINT)"
    condition = f"lost > 0 AND {taken} >= $start AND {taken} < $end"
    return _number(database, f"SELECT coalesce(sum(lost), 0) FROM {rows} WHERE {condition}", period)  # noqa: S608 - ours


def _number(database: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any] | None = None) -> int:
    return int(_one(database, query, values)[0])


def _one(database: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    row = database.execute(query, dict(values or {})).fetchone()
    assert row is not None
    return tuple(row)


def _time(seconds: float) -> datetime:
    """UTC, without a zone, as the files have it."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
