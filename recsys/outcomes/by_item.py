"""Where items were shown and what came of it: one item by day and by scenario, and the use of the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from recsys.outcomes.joining import Question, answered, join
from recsys.outcomes.log_files import LogFiles

if TYPE_CHECKING:
    import duckdb

_PLACES = """
CREATE TEMP TABLE places AS
WITH hits AS (
  SELECT request_id, position, bool_or(role = 'click') AS clicked, bool_or(role = 'conversion') AS converted
  FROM matched WHERE timely AND position > 0 GROUP BY ALL
)
SELECT day, scenario, position, coalesce(clicked, false) AS clicked, coalesce(converted, false) AS converted
FROM (
  SELECT request_id, day, scenario, list_position(items, $item) AS position FROM answers
  WHERE list_contains(items, $item)
) LEFT JOIN hits USING (request_id, position)
"""
"""A row for each answer that has the item."""

_GROUPED = """
SELECT {by}, count(*), avg(position), count(*) FILTER (clicked), count(*) FILTER (converted)
FROM places GROUP BY {by} ORDER BY {by}
"""

_USE = """
WITH shown AS (SELECT "user", unnest(items) AS item FROM answers),
counts AS (
  SELECT item, count(*) AS n, row_number() OVER (ORDER BY count(*) DESC) AS place FROM shown GROUP BY item
),
whole AS (SELECT sum(n) AS places, count(*) AS items FROM counts)
SELECT coalesce(any_value(places), 0), count(*), coalesce(exp(-sum(n / places * ln(n / places))), 0),
  coalesce(sum(n) FILTER (place <= ceil(items / 10)) / any_value(places), 0)
FROM counts, whole
"""
_NEW = """
SELECT count(DISTINCT ("user", item)) / nullif(count(*), 0)
FROM (SELECT "user", unnest(items) AS item FROM answers WHERE "user" IS NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Places:
    """What came of an item in the answers of a day, or of a scenario."""

    key: str
    """The day in UTC, or the scenario's name."""
    shown: int
    """Answers that had it."""
    position: float
    """Mean place, from 1."""
    clicks: int
    conversions: int


@dataclass(frozen=True, slots=True)
class ItemCourse:
    days: Sequence[Places]
    scenarios: Sequence[Places]


@dataclass(frozen=True, slots=True)
class CatalogueUse:
    """How much of the catalogue comes into answers, and how evenly."""

    places: int
    """Items in the answers, each time counted."""
    items_shown: int
    """Different items in them."""
    effective_items: float
    """How many items, shown equally often, would have the same entropy: exp of the entropy of the places."""
    top_share: float
    """Share of the places that the most shown tenth of the shown items has."""
    new_to_user: float | None
    """Share of the places whose item the same user had not been shown before in the period; None: no user is known."""


def item_course(files: LogFiles, question: Question, item_id: str) -> ItemCourse:
    """`question.by` says nothing here. Raises as `joining.report` does."""
    return answered(files, partial(_course, files=files, question=question, item_id=item_id))


def _course(database: duckdb.DuckDBPyConnection, files: LogFiles, question: Question, item_id: str) -> ItemCourse:
    join(database, files, question)
    database.execute(_PLACES, {"item": item_id})
    return ItemCourse(*([Places(*row) for row in _rows(database, by)] for by in ("day", "scenario")))


def _rows(database: duckdb.DuckDBPyConnection, by: str) -> list[tuple[Any, ...]]:
    return database.execute(_GROUPED.format(by=by)).fetchall()


def catalogue_use(files: LogFiles, question: Question) -> CatalogueUse:
    """`question.by` says nothing here. Raises as `joining.report` does."""
    return answered(files, partial(_use, files=files, question=question))


def _use(database: duckdb.DuckDBPyConnection, files: LogFiles, question: Question) -> CatalogueUse:
    join(database, files, question, ', "user"')
    places, items, effective, top = database.execute(_USE).fetchall()[0]
    [(new,)] = database.execute(_NEW).fetchall()
    return CatalogueUse(int(places), int(items), float(effective), float(top), None if new is None else float(new))
