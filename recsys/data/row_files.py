"""Rows out of CSV, JSON Lines and Parquet files, in bounded memory, each with its place in the file.

CSV is read by the csv module and not by pandas: only a reader that counts physical lines can name the line of
a bad row behind quoted line breaks.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.config import AttributeType
from recsys.data.records import unix_seconds
from recsys.errors import BadInput

Fields = dict[str, Any]
"""A row by our names."""
Row = tuple[int, Fields | str]
"""Line number, and the fields or what is wrong with the line."""
Lines = Iterator[bytes]

ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
LINE_BYTES = 16 << 20  # twice the default limit of a request body: no single record is longer


@dataclass(frozen=True, slots=True)
class Columns:
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


def file_size(path: Path) -> int:
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


def chunks(path: Path, columns: Columns, size: int) -> Iterator[tuple[list[Row], int]]:
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
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:  # the last two: Arrow's as well
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


def _jsonl(lines: Lines, columns: Columns) -> Iterator[Row]:
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
            yield number, plain({field: row.get(column) for field, column in names.items()})
        else:
            yield number, "is not a JSON object; the format is one object a line"


def _csv(path: Path, lines: Lines, columns: Columns) -> Iterator[Row]:
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
    return comparable(text, float) if kind == "number" else text


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


def _parquet(path: Path, columns: Columns, size: int) -> Iterator[tuple[list[Row], int]]:
    with pq.ParquetFile(path) as file:
        names = columns.found(path, file.schema_arrow.names)
        length, count, number = path.stat().st_size, max(file.metadata.num_rows, 1), 0
        for part in file.iter_batches(size, columns=sorted(set(names.values()))):
            rows: list[Row] = [
                (at, plain({field: row[column] for field, column in names.items()}))
                for at, row in enumerate(part.to_pylist(), number + 1)
            ]
            number += len(rows)
            yield rows, length * number // count


def plain(fields: Fields) -> Fields:
    """Without nulls and NaN, which tables write for them; datetimes and decimals as numbers."""
    plain: Fields = {}
    for name, value in fields.items():
        if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
            continue
        if isinstance(value, date | Decimal):
            plain[name] = comparable(value, unix_seconds if isinstance(value, date) else float)
        else:
            plain[name] = value
    return plain


def comparable(value: object, number: Callable[[Any], float]) -> object:
    """The number, so that 4, 4.0 and "4" make the same id; what is no number is refused later on."""
    try:
        return None if value is None else number(value)
    except (ValueError, TypeError, OverflowError):
        return value
