"""Items and events out of CSV, JSON Lines and Parquet files, in bounded memory, a batch at a time.

A file that cannot be read at all is a BadInput; a bad row becomes a `BadRow` with its line, the rest goes in.
CSV is read by the csv module and not by pandas: only a reader that counts physical lines can name the line of
a bad row behind quoted line breaks.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import time
import zlib
from collections import OrderedDict, deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import BadInput
from recsys.records import EventIn, ItemIn, R, check_event, check_item, unix_seconds, validate_each

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from recsys.config import AttributeType, Limits

    Fields = dict[str, Any]  # by our names
    Row = tuple[int, Fields | str]  # line number, and the fields or what is wrong with the line
    Lines = Iterator[bytes]

ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
LINE_BYTES = 16 << 20  # twice the default limit of a request body: no single record is longer
REMEMBERED = 200_000  # contents of events without an id: 31 MB, measured with tracemalloc


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out."""

    file: str
    line: int
    """From 1: the first physical line of a CSV row (the header is line 1), the row number in Parquet."""
    message: str


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """What came out of the next rows of a file; either list may be empty."""

    records: list[R]
    bad_rows: list[BadRow]
    bytes_read: int
    """Bytes of the files, compressed as they are, that have been read so far; the last batch has them all."""
    bytes_total: int


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
    columns = _Columns((*own, *loose), (("item_id",), ("title", "text")), mapping or {}, loose)

    def gather(fields: Fields) -> Fields:
        _ids_as_text(fields, "item_id")
        inner = fields.get("attributes", {})
        if isinstance(inner, dict):
            outer = {name: fields.pop(name) for name in loose if name in fields}
            fields["attributes"] = _plain(inner) | outer
        return fields

    def check(item: ItemIn) -> ItemIn:
        return check_item(item, declared, limits)

    return _read(_Plan(ItemIn, columns, lambda: gather, check, batch), paths)


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
    its content and its occurrence number within the file, so importing the file again changes nothing.
    BadInput: a file or the mapping cannot be used.
    """
    given = {"type": default_type, "timestamp": default_timestamp}
    given = {name: value for name, value in given.items() if value is not None}
    needed = [(name,) for name in ("user_id", "item_id", "type", "timestamp") if name not in given]
    columns = _Columns(tuple(EventIn.model_fields), tuple(needed), mapping or {}, {"value": "number"})

    def gather(fields: Fields, ids: _EventIds) -> Fields:
        event = given | fields
        _ids_as_text(event, "event_id", "user_id", "item_id", "request_id")
        if "timestamp" not in event:
            raise BadInput("timestamp: is missing and has no default", field="timestamp")
        if "event_id" not in event:
            event["event_id"] = ids.make(event)
        return event

    def gatherer() -> Callable[[Fields], Fields]:
        ids = _EventIds()
        return lambda fields: gather(fields, ids)

    def check(event: EventIn) -> EventIn:
        return check_event(event, event_types, limits, time.time())

    return _read(_Plan(EventIn, columns, gatherer, check, batch), paths)


class _EventIds:
    """Ids of one file's events that carry none.

    Rows of equal content are told apart by a running number. Only the last REMEMBERED contents are kept, so
    that memory stays bounded; equal rows further apart count as one event. The same file gives the same ids.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def make(self, event: Mapping[str, Any]) -> str:
        parts = [event.get("user_id"), event.get("item_id"), event.get("type")]
        parts += [_comparable(event.get("timestamp"), unix_seconds), _comparable(event.get("value"), float)]
        # ascii, because what repr escapes depends on the Unicode tables of the Python version.
        content = hashlib.blake2b(ascii(parts).encode(), digest_size=16)
        number = self._seen.pop(content.digest(), 0) + 1
        self._seen[content.digest()] = number
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return content.hexdigest() if number == 1 else f"{content.hexdigest()}-{number}"


def _comparable(value: object, number: Callable[[Any], float]) -> object:
    """The number, so that 4, 4.0 and "4" make the same id; what is no number is refused later on."""
    try:
        return None if value is None else number(value)
    except (ValueError, TypeError, OverflowError):
        return value


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column of a file holds which field."""

    known: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...]
    """Groups of fields; of each group at least one must have a column."""
    mapping: Mapping[str, str]
    """Field: column, where they differ."""
    kinds: Mapping[str, AttributeType]
    """What a CSV cell holds, where it is not text."""

    def names(self) -> dict[str, str]:
        """Column of each field; BadInput when the mapping names a field that does not exist."""
        for field, column in self.mapping.items():
            if field not in self.known:
                known = ", ".join(self.known)
                raise BadInput(f"--map {field}={column}: no such field; the fields are {known}", field=field)
        return {field: self.mapping.get(field, field) for field in self.known}

    def found(self, path: Path, header: Sequence[str]) -> dict[str, str]:
        """Column of each field that the header has; BadInput when a needed or mapped one is not there."""
        names = {field: column for field, column in self.names().items() if column in header}
        groups = (*self.needed, *((field,) for field in self.mapping))
        for group in groups:
            if not names.keys() & set(group):
                wanted = " or ".join(self.mapping.get(field, field) for field in group)
                raise BadInput(
                    f"{path}: has no column {wanted}; found: {', '.join(header)[:500]}; "
                    f"name the right one with --map {group[0]}=COLUMN",
                    field=group[0],
                )
        return names


@dataclass(frozen=True, slots=True)
class _Plan(Generic[R]):
    """How rows become records."""

    kind: type[R]
    columns: _Columns
    gatherer: Callable[[], Callable[[Fields], Fields]]
    """Makes, for each file, what turns the fields of a row into a raw record."""
    check: Callable[[R], R]
    rows: int
    """Rows of a batch."""


def _read(plan: _Plan[R], paths: Iterable[Path]) -> Iterator[Batch[R]]:
    """Looks at the mapping and at every path at once; opens each file when its turn comes."""
    plan.columns.names()
    return _batches(plan, [(path, _file_size(path)) for path in paths])


def _batches(plan: _Plan[R], files: Sequence[tuple[Path, int]]) -> Iterator[Batch[R]]:
    before, total = 0, sum(length for _, length in files)
    for path, length in files:
        gather = plan.gatherer()
        for rows, position in _chunks(path, plan.columns, plan.rows):
            records, wrong = _records(plan, gather, rows)
            bad = [BadRow(str(path), line, message) for line, message in sorted(wrong.items())]
            yield Batch(records, bad, before + min(position, length), total)
        before += length
    yield Batch([], [], total, total)


def _records(plan: _Plan[R], gather: Callable[[Fields], Fields], rows: Iterable[Row]) -> tuple[list[R], dict[int, str]]:
    """The good records, and what is wrong with the other rows by line."""
    lines, raw, wrong = [], [], {}
    for line, fields in rows:
        if isinstance(fields, str):
            wrong[line] = fields
            continue
        try:
            raw.append(gather(fields))
            lines.append(line)
        except BadInput as error:
            wrong[line] = str(error)
    good, refused = validate_each(plan.kind, raw, plan.check)
    wrong.update((lines[one.index], one.message) for one in refused)
    return [record for _, record in good], wrong


def _file_size(path: Path) -> int:
    """Bytes; BadInput for what is no file of a known format."""
    try:
        length = path.stat().st_size
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name the files in it, such as {path}/*.jsonl")
    if not path.name.lower().endswith(ENDINGS):
        raise BadInput(f"{path}: is of no known format; the names of files end in {', '.join(ENDINGS)}")
    if length == 0:
        raise BadInput(f"{path}: is empty")
    return length


def _chunks(path: Path, columns: _Columns, size: int) -> Iterator[tuple[list[Row], int]]:
    """At most `size` rows at a time, and the bytes of the file read so far."""
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        if ending == "parquet":
            yield from _parquet(path, columns, size)
            return
        with _opened(path) as (raw, stream):
            lines = _lines(path, stream)
            rows = _csv(path, lines, columns) if ending == "csv" else _jsonl(lines, columns)
            while chunk := list(islice(rows, size)):
                yield chunk, raw.tell()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: is broken gzip ({error}); pack it again") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file, for its position, and its bytes, unpacked."""
    with path.open("rb") as raw:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield raw, cast("BinaryIO", stream)
        else:
            yield raw, raw


def _lines(path: Path, stream: BinaryIO) -> Lines:
    """Physical lines without a byte order mark; BadInput for what is empty or no text in lines."""
    number = 0
    while line := stream.readline(LINE_BYTES):
        number += 1
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise BadInput(f"{path}: is UTF-16; save it as UTF-8")
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            raise BadInput(f"{path}: line {number} is longer than {LINE_BYTES >> 20} MiB; write one record a line")
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    if number == 0:
        raise BadInput(f"{path}: is empty")


def _jsonl(lines: Lines, columns: _Columns) -> Iterator[Row]:
    names = columns.names()
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, f"is not JSON: {error.msg}, at column {error.colno}"
            continue
        if isinstance(row, dict):
            yield number, _plain({field: row.get(column) for field, column in names.items()})
        else:
            yield number, "is not a JSON object; the format is one object a line"


def _csv(path: Path, lines: Lines, columns: _Columns) -> Iterator[Row]:
    rows = _csv_rows(lines)
    _, header = next(rows, (1, "it is blank"))
    if isinstance(header, str):
        raise BadInput(f"{path}: the header cannot be read: {header}")
    names = columns.found(path, header)
    names.pop("attributes", None)  # would hold an object, and a cell cannot
    if twice := [column for column in names.values() if header.count(column) > 1]:
        raise BadInput(f"{path}: has more than one column {twice[0]}; rename one of them")
    cells = [(field, header.index(column), columns.kinds.get(field)) for field, column in names.items()]
    for number, row in rows:
        if isinstance(row, str):
            yield number, row
        elif len(row) != len(header):
            yield (
                number,
                f"has {len(row)} cells where the header has {len(header)}; is a quote or comma missing?",
            )
        else:
            yield number, {field: _cell(row[at], kind) for field, at, kind in cells if row[at]}


def _cell(text: str, kind: AttributeType | None) -> object:
    if kind == "keyword[]":
        return [word for part in text.split("|") if (word := part.strip())]
    # What is no number stays text, and is refused as such with its field's name.
    return _comparable(text, float) if kind == "number" else text


def _csv_rows(lines: Lines) -> Iterator[tuple[int, list[str] | str]]:
    """Rows, or what is wrong with one, by their first physical line; blank lines are skipped."""
    again: deque[bytes] = deque()
    taken: list[bytes] = []

    def feed() -> Iterator[str]:
        while line := again.popleft() if again else next(lines, b""):
            taken.append(line)
            yield line.decode(errors="replace")

    number = 1
    reader = csv.reader(feed(), strict=True)
    while True:
        taken.clear()
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield number, f"is not CSV: {error}"
            # A quote that is never closed swallows good rows: all but its own line are read again.
            again.extendleft(reversed(taken[1:]))
            number += 1
            reader = csv.reader(feed(), strict=True)
            continue
        if row is None:
            return
        if not all(_is_utf8(line) for line in taken):
            yield number, "holds bytes that are not UTF-8; save the file as UTF-8"
        elif row:
            yield number, row
        number += len(taken)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parquet(path: Path, columns: _Columns, size: int) -> Iterator[tuple[list[Row], int]]:
    with pq.ParquetFile(path) as file:
        names = columns.found(path, file.schema_arrow.names)
        length, count, number = path.stat().st_size, max(file.metadata.num_rows, 1), 0
        for part in file.iter_batches(size, columns=sorted(set(names.values()))):
            rows: list[Row] = [
                (at, _plain({field: row[column] for field, column in names.items()}))
                for at, row in enumerate(part.to_pylist(), number + 1)
            ]
            number += len(rows)
            yield rows, length * number // count


def _plain(fields: Fields) -> Fields:
    """Without nulls and NaN, which tables write for them; datetimes and decimals as numbers."""
    plain: Fields = {}
    for name, value in fields.items():
        if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
            continue
        if isinstance(value, date | Decimal):
            plain[name] = _comparable(value, unix_seconds if isinstance(value, date) else float)
        else:
            plain[name] = value
    return plain


def _ids_as_text(fields: Fields, *names: str) -> None:
    """Whole numbers, as tables often hold them, become text."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            fields[name] = str(value)
