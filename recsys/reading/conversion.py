"""Columns of text converted to raw items and events, for files of every container.

Each distinct cell is converted once a batch. A cell that cannot be converted costs the row, or, where the value is
optional and the options say so, the value alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys.config.platform import AttributeType
from recsys.data.canonical import canonical
from recsys.data.plausible_times import AHEAD_S
from recsys.data.validation import checked_attribute
from recsys.data.wording import path
from recsys.reading import cells
from recsys.reading.dialect import Condition, ReadOptions
from recsys.reading.file_reading import FileReading
from recsys.reading.tables import Rows
from recsys.reading.times import PLAIN_SECONDS, TimeReading, moment

_SPELLED = 200_000
"""Ids of one field that are remembered: about 30 MB."""

Wrong = dict[int, tuple[str, str]]
"""Field and message of refused rows, by the row's position in the batch."""


@dataclass(slots=True)
class Converted:
    """Raw records of some rows, with the rows and values that were left out."""

    records: list[dict[str, Any]]
    lines: list[int]
    """The line of each record."""
    wrong: list[tuple[int, str, str]] = field(default_factory=list)
    """Line, field and message of refused rows."""
    dropped: list[tuple[int, str, str]] = field(default_factory=list)
    """Line, field and message of optional values that were left out."""


def rows_where(rows: Rows, conditions: Sequence[Condition]) -> Rows:
    """Return the rows that fulfil all conditions."""
    for condition in conditions:
        encoded = rows.of(condition.column).dictionary_encode()
        holds = pa.array([_holds(text, condition) for text in encoded.dictionary.to_pylist()], pa.bool_())
        missing = _holds("", condition)
        rows = rows.where(pc.fill_null(holds.take(encoded.indices), missing))
    return rows


def _holds(text: str, condition: Condition) -> bool:
    left, right = _comparable(text), _comparable(condition.value)
    if condition.sign in ("=", "!="):
        return ((left == right) or text.strip() == condition.value) == (condition.sign == "=")
    if not (isinstance(left, float) and isinstance(right, float)):
        return False
    signs = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return signs[condition.sign]


def _comparable(text: str) -> float | str:
    """Return a cell as a number if it is one, else as text. `true` and `1.0` both are 1."""
    for read in (cells.number, cells.truth):
        try:
            return float(read(text))
        except ValueError:
            continue
    return canonical(text)


def by_distinct(column: pa.Array, convert: Callable[[str], Any]) -> tuple[list[Any], dict[int, str]]:
    """Return (n,) converted values, None where missing or wrong, and the messages of wrong cells by position."""
    encoded = column.dictionary_encode()
    values, faults = [], {}
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            values.append(convert(text))
        except ValueError as wrong:
            values.append(None)
            faults[code] = str(wrong)
    codes = encoded.indices.to_pylist()
    converted = [None if code is None else values[code] for code in codes]
    return converted, {at: faults[code] for at, code in enumerate(codes) if code in faults} if faults else {}


_OWN: Mapping[str, AttributeType] = {
    "created_at": "datetime",
    "hidden": "boolean",
    "available_from": "datetime",
    "available_until": "datetime",
}
"""What items have beside ids, texts and attributes."""


class Converter:
    """Converts the rows of one file."""

    def __init__(self, reading: FileReading, options: ReadOptions, declared: Mapping[str, AttributeType]) -> None:
        self._reading = reading
        self._options = options
        self._declared = declared
        self._spelled: dict[str, dict[str, str]] = {"user_id": {}, "item_id": {}}
        """Of these fields the ids of the rows before, as written and as read: they come again and again, and each is
        kept once."""

    def items(self, rows: Rows, now: float) -> Converted:
        """Return raw items. `now`: Unix seconds, to refuse creation times far in the future."""
        converted = Converted([], rows.lines.tolist())
        columns: dict[str, list[Any]] = {"item_id": self._ids(rows, "item_id")}
        for name in ("title", "text"):
            if name in self._reading.columns:
                columns[name] = rows.of(self._reading.columns[name]).to_pylist()
        if self._options.text_from:
            columns["text"] = self._joined(rows)
        refused: Wrong = {}
        optional = {
            name: self._created(rows, now) if name == "created_at" else self._attribute(rows, name, kind)
            for name, kind in _OWN.items()
            if name in self._reading.columns
        }
        attributes = {
            name: self._attribute(rows, name, kind)
            for name, kind in self._declared.items()
            if name in self._reading.columns
        }
        for name, (values, faults) in {**optional, **attributes}.items():
            where = name if name in optional else path(("attributes", name))
            self._settle(converted, where, faults, refused)
            if name in optional:
                columns[name] = values
        converted.records = _records(columns, len(rows))
        names = list(attributes)
        inner = _records({name: attributes[name][0] for name in names}, len(rows)) if names else []
        for record, present in zip(converted.records, inner, strict=False):
            if present:
                record["attributes"] = present
        return _without(converted, refused)

    def events(self, rows: Rows) -> Converted:
        """Return raw events, without defaults for missing fields."""
        converted = Converted([], rows.lines.tolist())
        columns: dict[str, list[Any]] = {}
        refused: Wrong = {}
        fields = self._reading.columns
        for name in ("event_id", "user_id", "item_id", "request_id"):
            if name in fields:
                columns[name] = self._ids(rows, name)
        if "type" in fields:
            types = {canonical(theirs): ours for theirs, ours in self._options.type_map.items()}
            names = rows.of(fields["type"])
            columns["type"], _ = by_distinct(names, lambda text: types.get(canonical(text), canonical(text)))
        if "timestamp" in fields and (seconds := self._seconds(rows.of(fields["timestamp"]))) is not None:
            columns["timestamp"] = seconds
        for name, convert in (("value", self._number("value")), ("timestamp", self._moment("timestamp"))):
            if name in fields and name not in columns:
                columns[name], faults = by_distinct(rows.of(fields[name]), convert)
                for at, message in faults.items():
                    refused.setdefault(at, (name, f"{name}: {message}"))
        converted.records = _records(columns, len(rows))
        return _without(converted, refused)

    def _settle(self, converted: Converted, where: str, faults: Mapping[int, str], refused: Wrong) -> None:
        for at, message in faults.items():
            if self._options.bad_attributes == "drop":
                converted.dropped.append((converted.lines[at], where, f"{where}: {message}"))
            else:
                refused.setdefault(at, (where, f"{where}: {message}"))

    def _ids(self, rows: Rows, name: str) -> list[str | None]:
        whole = name in self._reading.float_ids
        ids = rows.of(self._reading.columns[name])

        def read(text: str) -> str:
            spelled = canonical(text)
            return cells.whole_number(spelled) if whole else spelled

        if name not in self._spelled:
            return by_distinct(ids, read)[0]
        seen = self._spelled[name]
        if len(seen) > _SPELLED:
            seen.clear()

        def read_once(text: str) -> str:
            spelled = seen.get(text)
            if spelled is None:
                spelled = seen[text] = read(text)
            return spelled

        return by_distinct(ids, read_once)[0]

    def _joined(self, rows: Rows) -> list[str]:
        """Return texts joined from the columns of `--text-from`, without the title's column."""
        title = self._reading.columns.get("title")

        def words(text: str) -> str:
            listed = cells.literal_list_or_none(text)
            return text.strip() if listed is None else ", ".join(listed)

        parts = [by_distinct(rows.of(name), words)[0] for name in self._options.text_from if name != title]
        return [". ".join(part for part in row if part) for row in zip(*parts, strict=True)] or [""] * len(rows)

    def _created(self, rows: Rows, now: float) -> tuple[list[Any], dict[int, str]]:
        read = self._moment("created_at")

        def convert(text: str) -> float | None:
            seconds = read(text)
            if seconds is not None and seconds > now + AHEAD_S:
                raise ValueError(f"{text!r} lies over a year ahead, and the item would be the newest until then")
            return seconds

        return by_distinct(rows.of(self._reading.columns["created_at"]), convert)

    def _attribute(self, rows: Rows, name: str, kind: AttributeType) -> tuple[list[Any], dict[int, str]]:
        readers: dict[AttributeType, Callable[[str], Any]] = {
            "keyword": cells.keyword,
            "keyword[]": lambda text: cells.keywords(text, self._reading.list_separators.get(name, "|")),
            "number": self._number(name),
            "boolean": lambda text: None if cells.is_missing(text) else cells.truth(text),
            "datetime": self._moment(name),
            "date": self._moment(name),
        }
        read = readers[kind]

        def convert(text: str) -> Any:
            value = read(text)
            return None if value is None or value == "" else checked_attribute(value, kind)

        return by_distinct(rows.of(self._reading.columns[name]), convert)

    def _number(self, name: str) -> Callable[[str], float | None]:
        commas = name in self._reading.decimal_commas
        return lambda text: None if cells.is_missing(text) else cells.number(text, decimal_comma=commas)

    def _seconds(self, column: pa.Array) -> list[float] | None:
        """Return a whole column of plain Unix seconds, as `moment` reads each. None: it holds something else."""
        reading = self._reading.times.get("timestamp", TimeReading())
        if reading.format is not None or reading.unit not in (None, "s") or column.null_count:
            return None
        if not pc.all(pc.match_substring_regex(column, PLAIN_SECONDS)).as_py():
            return None
        seconds: list[float] = column.cast(pa.int64()).cast(pa.float64()).to_pylist()
        return seconds

    def _moment(self, name: str) -> Callable[[str], float | None]:
        reading = self._reading.times.get(name, TimeReading())
        return lambda text: None if cells.is_missing(text) else moment(text, reading)


def _records(columns: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
    """Return the rows as objects, without missing values. `count`: rows, for when there are no columns."""
    names = list(columns)
    if not names:
        return [{} for _ in range(count)]
    rows = zip(*columns.values(), strict=True)
    return [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]


def _without(converted: Converted, refused: Wrong) -> Converted:
    if refused:
        converted.wrong += [(converted.lines[at], where, message) for at, (where, message) in sorted(refused.items())]
        converted.records = [record for at, record in enumerate(converted.records) if at not in refused]
        converted.lines = [line for at, line in enumerate(converted.lines) if at not in refused]
    return converted
