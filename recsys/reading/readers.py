"""Items and events from files of every supported container, one batch at a time, in bounded memory.

A file that cannot be read raises BadInput. An invalid row becomes a `BadRow` with its line, and the others are read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.data.parquet_folders import files_of
from recsys.data.plain_events import file_events
from recsys.data.records import EventIn, ItemIn, Refused, validate_each
from recsys.data.validation import check_item
from recsys.datatypes import Interaction
from recsys.reading.conversion import Converted, Converter, rows_where
from recsys.reading.dialect import ReadOptions
from recsys.reading.fields import Fields
from recsys.reading.file_reading import FileReading, look
from recsys.reading.packed_files import file_size, refuse_if_changed
from recsys.reading.refusals import BadRow
from recsys.reading.table_reading import read_rows
from recsys.reading.tables import Rows

_DAY_S = 86_400
R = TypeVar("R")
Validated = tuple[list[R], list[Refused]]
"""The valid records, and the refused ones by their position."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """The result of the next rows of a file. Either list may be empty."""

    records: list[R]
    bad_rows: list[BadRow]
    bytes_read: int
    """Bytes of the files, as they are on disk, that have been read. The last batch has `bytes_total`."""
    bytes_total: int
    dropped: Sequence[BadRow] = ()
    """Optional values that were left out of records."""
    skipped: int = 0
    """Rows that `--where` left out."""
    summary: Sequence[str] = ()
    """See `FileReading.summary`. Only the first batch of a file has it."""


class Reading(Generic[R]):
    """Files whose columns were checked. Their rows are read when this is iterated, one batch at a time."""

    def __init__(self, files: Sequence[FileReading], batches: Iterator[Batch[R]]) -> None:
        self.files = files
        self._batches = batches

    def summary(self) -> list[str]:
        """Return one or two lines for each file that say how it is read."""
        return [line for file in self.files for line in file.summary()]

    def __iter__(self) -> Iterator[Batch[R]]:
        return self._batches

    def __next__(self) -> Batch[R]:
        return next(self._batches)


def item_fields(declared: Mapping[str, AttributeType], options: ReadOptions) -> Fields:
    """Return the fields that are read from item files."""
    own = tuple(name for name in ItemIn.model_fields if name != "attributes")
    loose = {name: kind for name, kind in declared.items() if name not in own}
    needed = [("item_id",), *([] if options.text_from else [("title", "text")])]
    return Fields((*own, *loose), tuple(needed), loose, {})


def event_fields(given: Collection[str], options: ReadOptions) -> Fields:
    """Return the fields that are read from event files. `given`: fields that need no column."""
    required = ["user_id", "item_id", "type", *([] if options.default_time else ["timestamp"])]
    needed = tuple((name,) for name in required if name not in given)
    hints = {
        "type": "say what all events are with --type",
        "timestamp": "without times say --default-time order (the rows' order) or now",
    }
    return Fields(tuple(EventIn.model_fields), needed, {}, hints)


def read_items(
    paths: Iterable[Path],
    declared: Mapping[str, AttributeType],
    limits: Limits,
    options: ReadOptions | Mapping[str, str] | None = None,
    batch: int = 1000,
) -> Reading[ItemIn]:
    """Return the items of the files in order, `batch` rows at a time.

    Attributes are columns with their declared names, or fields of an object `attributes`. Other columns are named in
    the summary. `options`: a mapping alone gives the file's column of a field. Raises BadInput, before any row is read,
    for a file that cannot be read, a missing column and an invalid option.
    """
    options = _options(options)

    def converter(file: FileReading) -> Callable[[Rows], Converted]:
        file_converter, now = Converter(file, options, declared), time.time()
        return lambda rows: file_converter.items(rows, now)

    def validate(records: Sequence[dict[str, Any]]) -> Validated[ItemIn]:
        # The converter has checked the attributes: an invalid one need not cost the item.
        good, refused = validate_each(ItemIn, records, lambda item: check_item(item, None, limits))
        return [item for _, item in good], refused

    return _read(_Plan(item_fields(declared, options), options, converter, validate, batch), paths)


def read_events(
    paths: Iterable[Path],
    event_types: Collection[str],
    limits: Limits,
    options: ReadOptions | Mapping[str, str] | None = None,
    batch: int = 1000,
    *,
    default_type: str | None = None,
    default_timestamp: float | None = None,
) -> Reading[Interaction]:
    """Return the events of the files in order, `batch` rows at a time.

    `default_type` and `default_timestamp` (Unix seconds) are used for rows without a type or a time. None: such a row
    is refused, since an old event without a time would count as new. An event without an id gets a hash of its content
    as its id. So equal rows are one event, and importing a file again changes nothing. `options` and errors: as for
    `read_items`.
    """
    options = _options(options)
    given = {"type": default_type, "timestamp": default_timestamp}
    given = {name: value for name, value in given.items() if value is not None}

    def converter(file: FileReading) -> Callable[[Rows], Converted]:
        return _Events(Converter(file, options, {}), file.path, options, given).convert

    def validate(records: Sequence[dict[str, Any]]) -> Validated[Interaction]:
        read = file_events(records, event_types, limits, time.time())
        return read.events, read.refused

    return _read(_Plan(event_fields(given, options), options, converter, validate, batch), paths)


def _options(given: ReadOptions | Mapping[str, str] | None) -> ReadOptions:
    return given if isinstance(given, ReadOptions) else ReadOptions(given or {})


class _Events:
    """Converts the events of one file and adds defaults for missing fields."""

    def __init__(self, converter: Converter, path: Path, options: ReadOptions, given: Mapping[str, Any]) -> None:
        self._converter = converter
        self._given = given
        self._default_time = options.default_time
        # Times start a day before the file was written, a millisecond apart: they keep the order and are in the past.
        self._start = time.time() if options.default_time == "now" else path.stat().st_mtime // 1 - _DAY_S
        self._count = 0

    def convert(self, rows: Rows) -> Converted:
        converted = self._converter.events(rows)
        kept: list[dict[str, Any]] = []
        lines = []
        for line, event in zip(converted.lines, converted.records, strict=True):
            for name, value in self._given.items():
                event.setdefault(name, value)
            self._count += 1
            if "timestamp" not in event and self._default_time is None:
                converted.wrong.append((line, "timestamp", "timestamp: is missing"))
                continue
            if "event_id" not in event:  # before a default time is set, so that a later reading gives the same id
                event["event_id"] = _content_id(event)
            if "timestamp" not in event:
                event["timestamp"] = self._start + (self._count / 1000 if self._default_time == "order" else 0)
            kept.append(event)
            lines.append(line)
        converted.records, converted.lines = kept, lines
        return converted


def _content_id(event: Mapping[str, Any]) -> str:
    """Return the id of an event without one: a hash of its content."""
    parts = [event.get("user_id"), event.get("item_id"), event.get("type")]
    parts += [event.get("timestamp"), event.get("value")]
    # `ascii` and not `repr`: what `repr` escapes depends on the Unicode tables of the Python version.
    return hashlib.blake2b(ascii(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class _Plan(Generic[R]):
    """How rows become records."""

    fields: Fields
    options: ReadOptions
    converter: Callable[[FileReading], Callable[[Rows], Converted]]
    """Returns the function that converts the rows of a file to raw records."""
    validate: Callable[[Sequence[dict[str, Any]]], Validated[R]]
    rows: int
    """Rows of a batch."""


def _read(plan: _Plan[R], paths: Iterable[Path]) -> Reading[R]:
    """Check every file before the first is read, so that a missing column of the last one is reported at once."""
    plan.fields.check(plan.options.mapping)
    listed = files_of(paths)
    sizes = [file_size(path) for path in listed]
    files = [look(path, plan.fields, plan.options, alone=len(listed) == 1) for path in listed]
    _refuse_unfound(plan, files)
    return Reading(files, _batches(plan, files, sizes))


def _refuse_unfound(plan: _Plan[R], files: Sequence[FileReading]) -> None:
    """BadInput for a column that was named and that no file has."""
    for name, column in plan.options.mapping.items():
        named = {column, *plan.options.also.get(name, ())}
        if files and all(named.isdisjoint(file.dialect.columns) for file in files):
            header = files[0].dialect.columns
            mapping = plan.options.of_columns(header, alone=False).mapping
            plan.fields.columns(files[0].path, header, {**mapping, name: column})


def _batches(plan: _Plan[R], files: Sequence[FileReading], sizes: Sequence[int]) -> Iterator[Batch[R]]:
    before, total = 0, sum(sizes)
    conditions, text_from = plan.options.where, plan.options.text_from
    for file, length in zip(files, sizes, strict=True):
        convert, summary = plan.converter(file), file.summary()
        used = [*file.columns.values(), *(condition.column for condition in conditions), *text_from]
        for rows in read_rows(file.path, file.dialect, list(dict.fromkeys(used)), plan.rows):
            kept = rows_where(rows, conditions)
            records, wrong, dropped = _records(plan, convert, kept, rows.bad)
            bad = [_bad_row(str(file.path), *one) for one in sorted(wrong, key=lambda one: one[0])]
            values = [_bad_row(str(file.path), *one) for one in sorted(dropped, key=lambda one: one[0])]
            position = before + min(rows.position, length)
            yield Batch(records, bad, position, total, values, len(rows) - len(kept), summary)
            summary = []
        refuse_if_changed(file.path, length)
        before += length
    yield Batch([], [], total, total)


def _records(
    plan: _Plan[R], convert: Callable[[Rows], Converted], rows: Rows, bad: Iterable[tuple[int, str]]
) -> tuple[list[R], list[_Fault], list[_Fault]]:
    """Return the valid records, the faults of the other rows, and the values dropped from valid records."""
    wrong: list[_Fault] = [(line, None, message) for line, message in bad]
    if not len(rows):
        return [], wrong, []
    converted = convert(rows)
    wrong += converted.wrong
    records, refused = plan.validate(converted.records)
    wrong += [(converted.lines[one.index], one.field, one.message) for one in refused]
    refused_lines = {line for line, _, _ in wrong}
    return records, wrong, [one for one in converted.dropped if one[0] not in refused_lines]


_Fault = tuple[int, str | None, str]
"""Line, field and message."""
_FIXES = {
    "type": "name the configured type with --type-map THEIRS=OURS, or add it under event_types in the config file",
}


def _bad_row(file: str, line: int, where: str | None, message: str) -> BadRow:
    return BadRow(file, line, message, where, _FIXES.get(where or "", ""))
