"""Items and events out of files of any of the known containers, in bounded memory, a batch at a time.

A file that cannot be read at all is a BadInput; a bad row becomes a `BadRow` with its line, the rest goes in.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from recsys.config import AttributeType, Limits
from recsys.data.parquet_folders import files_of
from recsys.data.records import EventIn, ItemIn, R, validate_each
from recsys.data.validation import check_event, check_item
from recsys.reading.conversion import Converted, Converter, wanted_rows
from recsys.reading.dialect import ReadOptions
from recsys.reading.fields import Fields
from recsys.reading.file_reading import FileReading, look
from recsys.reading.packed_files import file_size, refuse_if_changed
from recsys.reading.refusals import BadRow
from recsys.reading.table_reading import read_rows
from recsys.reading.tables import Rows

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """What came out of the next rows of a file; either list may be empty."""

    records: list[R]
    bad_rows: list[BadRow]
    bytes_read: int
    """Bytes of the files, compressed as they are, that have been read so far; the last batch has them all."""
    bytes_total: int
    dropped: Sequence[BadRow] = ()
    """Optional values that were left out of records that went in."""
    skipped: int = 0
    """Rows that `--where` left out."""
    said: Sequence[str] = ()
    """What the file was taken for, in lines; with its first batch."""


class Reading(Generic[R]):
    """Files that were looked at and are read when this is iterated: batches of at most so many rows."""

    def __init__(self, files: Sequence[FileReading], batches: Iterator[Batch[R]]) -> None:
        self.files = files
        self._batches = batches

    def said(self) -> list[str]:
        """What each file was taken for, in two lines or less."""
        return [line for file in self.files for line in file.said()]

    def __iter__(self) -> Iterator[Batch[R]]:
        return self._batches

    def __next__(self) -> Batch[R]:
        return next(self._batches)


def item_fields(declared: Mapping[str, AttributeType], options: ReadOptions) -> Fields:
    """What is read of item files."""
    own = tuple(name for name in ItemIn.model_fields if name != "attributes")
    loose = {name: kind for name, kind in declared.items() if name not in own}
    needed = [("item_id",), *([] if options.text_from else [("title", "text")])]
    return Fields((*own, *loose), tuple(needed), loose, {})


def event_fields(given: Collection[str], options: ReadOptions) -> Fields:
    """What is read of event files; `given`: fields that need no column."""
    wanted = ["user_id", "item_id", "type", *([] if options.default_time else ["timestamp"])]
    needed = tuple((name,) for name in wanted if name not in given)
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
    """Items of the files in order, `batch` rows at a time; further columns are told and not read.

    Attributes are columns of their declared names, or fields of an object `attributes`. `options`: a mapping alone is
    {our name: the file's column}. BadInput: a file or an option does not fit; none is read then.
    """
    options = _options(options)

    def converter(file: FileReading) -> Callable[[Rows], Converted]:
        made, now = Converter(file, options, declared), time.time()
        return lambda rows: made.items(rows, now)

    def check(item: ItemIn) -> ItemIn:
        # Attributes are checked where they are converted, so that a bad one need not cost the item.
        return check_item(item, None, limits)

    return _read(_Plan(ItemIn, item_fields(declared, options), options, converter, check, batch), paths)


def read_events(
    paths: Iterable[Path],
    event_types: Collection[str],
    limits: Limits,
    options: ReadOptions | Mapping[str, str] | None = None,
    batch: int = 1000,
    *,
    default_type: str | None = None,
    default_timestamp: float | None = None,
) -> Reading[EventIn]:
    """Events of the files in order, `batch` rows at a time; further columns are told and not read.

    `default_type` and `default_timestamp` (Unix seconds) stand in where a row has none; None: such a row is
    bad, for an old event without a time would silently count as new. An event without an event_id gets one of
    its content: rows that say the same are one event, in whatever files and order they come, so importing a file again
    changes nothing.
    `options`: as for `read_items`. BadInput: a file or an option does not fit; none is read then.
    """
    options = _options(options)
    given = {"type": default_type, "timestamp": default_timestamp}
    given = {name: value for name, value in given.items() if value is not None}

    def converter(file: FileReading) -> Callable[[Rows], Converted]:
        return _Events(Converter(file, options, {}), file.path, options, given).convert

    def check(event: EventIn) -> EventIn:
        return check_event(event, event_types, limits, time.time())

    return _read(_Plan(EventIn, event_fields(given, options), options, converter, check, batch), paths)


def _options(given: ReadOptions | Mapping[str, str] | None) -> ReadOptions:
    return given if isinstance(given, ReadOptions) else ReadOptions(given or {})


class _Events:
    """Events of one file, with what stands in for what rows lack."""

    def __init__(self, converter: Converter, path: Path, options: ReadOptions, given: Mapping[str, Any]) -> None:
        self._converter = converter
        self._given = given
        self._default_time = options.default_time
        # A day before the file was written, and a millisecond a row: the order stays, and nothing lies ahead.
        self._start = time.time() if options.default_time == "now" else path.stat().st_mtime // 1 - _DAY_S
        self._count = 0

    def convert(self, rows: Rows) -> Converted:
        made = self._converter.events(rows)
        kept: list[dict[str, Any]] = []
        lines = []
        for line, fields in zip(made.lines, made.records, strict=True):
            event = {**self._given, **fields}
            self._count += 1
            if "timestamp" not in event and self._default_time is None:
                made.wrong.append((line, "timestamp", "timestamp: is missing and has no default"))
                continue
            if "event_id" not in event:  # of what the file says, so that reading it later gives the same
                event["event_id"] = _content_id(event)
            if "timestamp" not in event:
                event["timestamp"] = self._start + (self._count / 1000 if self._default_time == "order" else 0)
            kept.append(event)
            lines.append(line)
        made.records, made.lines = kept, lines
        return made


def _content_id(event: Mapping[str, Any]) -> str:
    """The id of an event that came without one: a hash of all that it says."""
    parts = [event.get("user_id"), event.get("item_id"), event.get("type")]
    parts += [event.get("timestamp"), event.get("value")]
    # ascii, because what repr escapes depends on the Unicode tables of the Python version.
    return hashlib.blake2b(ascii(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class _Plan(Generic[R]):
    """How rows become records."""

    kind: type[R]
    fields: Fields
    options: ReadOptions
    converter: Callable[[FileReading], Callable[[Rows], Converted]]
    """Makes, for each file, what turns rows into raw records."""
    check: Callable[[R], R]
    rows: int
    """Rows of a batch."""


def _read(plan: _Plan[R], paths: Iterable[Path]) -> Reading[R]:
    """Look at every file at once: a wrong column of the last one is told before the first is read. Each file is read
    when its turn comes.
    """
    plan.fields.check(plan.options.mapping)
    listed = files_of(paths)
    sizes = [file_size(path) for path in listed]
    files = [look(path, plan.fields, plan.options) for path in listed]
    return Reading(files, _batches(plan, files, sizes))


def _batches(plan: _Plan[R], files: Sequence[FileReading], sizes: Sequence[int]) -> Iterator[Batch[R]]:
    before, total = 0, sum(sizes)
    conditions, text_from = plan.options.where, plan.options.text_from
    for file, length in zip(files, sizes, strict=True):
        convert, said = plan.converter(file), file.said()
        used = [*file.columns.values(), *(condition.column for condition in conditions), *text_from]
        for rows in read_rows(file.path, file.dialect, list(dict.fromkeys(used)), plan.rows):
            kept = wanted_rows(rows, conditions)
            records, wrong, dropped = _records(plan, convert, kept, rows.bad)
            bad = [_bad_row(str(file.path), *one) for one in sorted(wrong, key=lambda one: one[0])]
            told = [_bad_row(str(file.path), *one) for one in sorted(dropped, key=lambda one: one[0])]
            position = before + min(rows.position, length)
            yield Batch(records, bad, position, total, told, len(rows) - len(kept), said)
            said = []
        refuse_if_changed(file.path, length)
        before += length
    yield Batch([], [], total, total)


def _records(
    plan: _Plan[R], convert: Callable[[Rows], Converted], rows: Rows, bad: Iterable[tuple[int, str]]
) -> tuple[list[R], list[_Fault], list[_Fault]]:
    """The good records, what is wrong with the other rows, and what was dropped of the good ones."""
    wrong: list[_Fault] = [(line, None, message) for line, message in bad]
    if not len(rows):
        return [], wrong, []
    made = convert(rows)
    wrong += made.wrong
    good, refused = validate_each(plan.kind, made.records, plan.check)
    wrong += [(made.lines[one.index], one.field, one.message) for one in refused]
    lost = {line for line, _, _ in wrong}
    return [record for _, record in good], wrong, [one for one in made.dropped if one[0] not in lost]


_Fault = tuple[int, str | None, str]
"""Line, field and message."""
_FIXES = {
    "type": "name the configured type with --type-map THEIRS=OURS, or add it under event_types in the config file",
}


def _bad_row(file: str, line: int, where: str | None, message: str) -> BadRow:
    return BadRow(file, line, message, where, _FIXES.get(where or "", ""))
