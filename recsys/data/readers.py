"""Items and events out of CSV, JSON Lines and Parquet files, in bounded memory, a batch at a time.

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
from recsys.data.records import EventIn, ItemIn, R, unix_seconds, validate_each
from recsys.data.refusals import BadRow
from recsys.data.row_files import Columns, Fields, Row, chunks, comparable, file_size, plain
from recsys.data.validation import check_event, check_item
from recsys.errors import BadInput


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


def read_items(
    paths: Iterable[Path],
    declared: Mapping[str, AttributeType],
    limits: Limits,
    mapping: Mapping[str, str] | None = None,
    batch: int = 1000,
) -> Iterator[Batch[ItemIn]]:
    """Items of the files in order, `batch` rows at a time; further columns are ignored.

    `mapping` is {our name: the file's column}. Attributes are columns of their declared names or, except in
    CSV, an `attributes` object; in CSV a keyword[] is split at `|`. BadInput: a file or mapping does not fit.
    """
    own = tuple(ItemIn.model_fields)
    loose = {name: kind for name, kind in declared.items() if name not in own}
    columns = Columns((*own, *loose), (("item_id",), ("title", "text")), mapping or {}, loose)

    def gather(fields: Fields) -> Fields:
        _ids_as_text(fields, "item_id")
        inner = fields.get("attributes", {})
        if isinstance(inner, dict):
            outer = {name: fields.pop(name) for name in loose if name in fields}
            fields["attributes"] = plain(inner) | outer
        return fields

    def check(item: ItemIn) -> ItemIn:
        return check_item(item, declared, limits)

    return _read(_Plan(ItemIn, columns, gather, check, batch), paths)


def read_events(
    paths: Iterable[Path],
    event_types: Collection[str],
    limits: Limits,
    mapping: Mapping[str, str] | None = None,
    batch: int = 1000,
    *,
    default_type: str | None = None,
    default_timestamp: float | None = None,
) -> Iterator[Batch[EventIn]]:
    """Events of the files in order, `batch` rows at a time; further columns are ignored.

    `default_type` and `default_timestamp` (Unix seconds) stand in where a row has none; None: such a row is
    bad, for an old event without a time would silently count as new. An event without an event_id gets one of
    its content: rows that say the same are one event, in whatever files and order they come, so importing a file again
    changes nothing.
    BadInput: a file or the mapping cannot be used.
    """
    given = {"type": default_type, "timestamp": default_timestamp}
    given = {name: value for name, value in given.items() if value is not None}
    needed = [(name,) for name in ("user_id", "item_id", "type", "timestamp") if name not in given]
    columns = Columns(tuple(EventIn.model_fields), tuple(needed), mapping or {}, {"value": "number"})

    def gather(fields: Fields) -> Fields:
        event = given | fields
        _ids_as_text(event, "event_id", "user_id", "item_id", "request_id")
        if "timestamp" not in event:
            raise BadInput("timestamp: is missing and has no default", field="timestamp")
        if "event_id" not in event:
            event["event_id"] = _content_id(event)
        return event

    def check(event: EventIn) -> EventIn:
        return check_event(event, event_types, limits, time.time())

    return _read(_Plan(EventIn, columns, gather, check, batch), paths)


def _content_id(event: Mapping[str, Any]) -> str:
    """The id of an event that came without one: a hash of all that it says."""
    parts = [event.get("user_id"), event.get("item_id"), event.get("type")]
    parts += [comparable(event.get("timestamp"), unix_seconds), comparable(event.get("value"), float)]
    # ascii, because what repr escapes depends on the Unicode tables of the Python version.
    return hashlib.blake2b(ascii(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class _Plan(Generic[R]):
    """How rows become records."""

    kind: type[R]
    columns: Columns
    gather: Callable[[Fields], Fields]
    """Turns the fields of a row into a raw record."""
    check: Callable[[R], R]
    rows: int
    """Rows of a batch."""


def _read(plan: _Plan[R], paths: Iterable[Path]) -> Iterator[Batch[R]]:
    """Look at the mapping and the first row of every file at once: a wrong column of the last one is told before the
    first is read. Each file is read when its turn comes.
    """
    plan.columns.names()
    files = [(path, file_size(path)) for path in files_of(paths)]
    for path, _ in files:
        next(chunks(path, plan.columns, 1), None)
    return _batches(plan, files)


def _batches(plan: _Plan[R], files: Sequence[tuple[Path, int]]) -> Iterator[Batch[R]]:
    before, total = 0, sum(length for _, length in files)
    for path, length in files:
        for rows, position in chunks(path, plan.columns, plan.rows):
            records, wrong = _records(plan, rows)
            bad = [BadRow(str(path), line, message) for line, message in sorted(wrong.items())]
            yield Batch(records, bad, before + min(position, length), total)
        before += length
    yield Batch([], [], total, total)


def _records(plan: _Plan[R], rows: Iterable[Row]) -> tuple[list[R], dict[int, str]]:
    """The good records, and what is wrong with the other rows by line."""
    lines, raw, wrong = [], [], {}
    for line, fields in rows:
        if isinstance(fields, str):
            wrong[line] = fields
            continue
        try:
            raw.append(plan.gather(fields))
            lines.append(line)
        except BadInput as error:
            wrong[line] = str(error)
    good, refused = validate_each(plan.kind, raw, plan.check)
    wrong.update((lines[one.index], one.message) for one in refused)
    return [record for _, record in good], wrong


def _ids_as_text(fields: Fields, *names: str) -> None:
    """Whole numbers, as tables often hold them, become text."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            fields[name] = str(value)
