"""Rows of text tables, JSON and Parquet, read in bounded memory, each with its line in the file."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys.data.records import encodable
from recsys.errors import BadInput
from recsys.reading.dialect import Dialect
from recsys.reading.packed_files import file_errors, lines_of, text_of, unpacked
from recsys.reading.separators import cells_of
from recsys.reading.tables import Rows, from_arrow, from_records, text_array

DOCUMENT_BYTES = 512 << 20
"""Limit of a JSON document, which is read as a whole."""


def read_rows(path: Path, dialect: Dialect, columns: Sequence[str], size: int) -> Iterator[Rows]:
    """Yield the given columns, at most `size` rows at a time. Raises BadInput when the file cannot be read."""
    readers = {"delimited": _delimited, "json lines": _json_lines, "json document": _document, "parquet": _parquet}
    with file_errors(path):
        yield from readers[dialect.container](path, dialect, columns, size)


class Lines:
    """Physical lines, numbered from 1. Lines can be given back, to be read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.number = 1
        """Number of the next line."""

    def take(self, count: int) -> list[str]:
        return list(islice(self, count))

    def give_back(self, lines: Sequence[str]) -> None:
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        return line


def _delimited(path: Path, dialect: Dialect, columns: Sequence[str], size: int) -> Iterator[Rows]:
    places = [dialect.columns.index(name) for name in columns]
    with text_of(path, dialect) as (raw, text):
        lines = Lines(lines_of(path, text))
        if dialect.header:
            next(split_rows(lines, dialect), None)
        while chunk := lines.take(size):
            first = lines.number - len(chunk)
            arrays = _plain_chunk(chunk, dialect, places)
            if arrays is not None:
                yield Rows(dict(zip(columns, arrays, strict=True)), first + np.arange(len(chunk)), raw.tell())
                continue
            lines.give_back(chunk)
            yield _quoted_chunk(lines, dialect, columns, places, size, raw)


def _plain_chunk(lines: Sequence[str], dialect: Dialect, places: Sequence[int]) -> list[pa.Array] | None:
    """Return the columns at `places`, read by Arrow. None: the lines need the slower reader.

    That is so for lines with quotes and for blank lines: Arrow does not count physical lines, which messages name.
    """
    text = "".join(lines).replace("\r\n", "\n")
    blank = "\n\n" in text or text.startswith("\n")
    quoted = dialect.quote and dialect.quote in text
    if quoted or blank or "\0" in text or "\r" in text or len(dialect.separator) > 1:
        return None
    names = [str(at) for at in range(len(dialect.columns))]
    try:
        data = text.encode()
        table = pa_csv.read_csv(
            io.BytesIO(data),
            read_options=pa_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            parse_options=pa_csv.ParseOptions(delimiter=dialect.separator, quote_char=False, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(
                include_columns=[names[at] for at in places],
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeEncodeError):  # rows of different widths, bytes invalid in the encoding
        return None
    if len(table) != len(lines):
        return None
    return [column.combine_chunks() for column in table.columns]


def _quoted_chunk(
    lines: Lines, dialect: Dialect, columns: Sequence[str], places: Sequence[int], size: int, raw: Any
) -> Rows:
    numbers, cells, bad = [], [], []
    width = len(dialect.columns)
    for number, row in islice(split_rows(lines, dialect), size):
        if isinstance(row, str):
            bad.append((number, row))
        elif len(row) != width:
            fault = f"has {len(row)} cells where {'the header' if dialect.header else 'the first row'} has {width}"
            bad.append((number, f"{fault}; is a quote or separator missing?"))
        else:
            numbers.append(number)
            cells.append(row)
    arrays = {name: text_array([row[at] for row in cells]) for name, at in zip(columns, places, strict=True)}
    return Rows(arrays, np.array(numbers, np.int64), raw.tell(), bad)


def split_rows(lines: Lines, dialect: Dialect) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the first physical line of each row, and the row or its fault. Blank lines are skipped.

    No more lines are read than the row needs, so that a caller can stop at any row.
    """
    consumed: list[str] = []

    def feed() -> Iterator[str]:
        for line in lines:
            consumed.append(line)
            yield line

    reader = cells_of(feed(), dialect.separator, dialect.quote)
    while True:
        consumed.clear()
        number = lines.number
        try:
            row = next(reader, None)
        except csv.Error as error:
            # A quote that is not closed consumes valid rows: read all lines after its own again.
            lines.give_back(consumed[1:])
            reader = cells_of(feed(), dialect.separator, dialect.quote)
            yield number, f"is not CSV: {error}"
            continue
        if row is None:
            return
        if not all(map(encodable, consumed)):
            yield number, not_text(dialect.encoding)
        elif row and not (len(row) == 1 and not row[0].strip() and len(dialect.columns) > 1):
            yield number, row


def not_text(encoding: str) -> str:
    """Return the message for bytes that are invalid in the encoding."""
    name = encoding.upper().removesuffix("-SIG")
    return f"holds bytes that are not {name}; save the file as UTF-8, or name its encoding with --encoding"


def _json_lines(path: Path, dialect: Dialect, columns: Sequence[str], size: int) -> Iterator[Rows]:
    with text_of(path, dialect) as (raw, text):
        lines = Lines(lines_of(path, text))
        while chunk := lines.take(size):
            first = lines.number - len(chunk)
            records, numbers, bad = [], [], []
            for number, line in enumerate(chunk, first):
                record = json_record(line, dialect.encoding)
                if isinstance(record, dict):
                    records.append(record)
                    numbers.append(number)
                elif record is not None:
                    bad.append((number, record))
            yield Rows(from_records(records, columns), np.array(numbers, np.int64), raw.tell(), bad)


def json_record(line: str, encoding: str = "utf-8") -> dict[str, Any] | str | None:
    """Return the object of a line, the message of its fault, or None for a blank line."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if line.isspace():
            return None
        if not encodable(line):
            return not_text(encoding)
        return f"is not JSON: {error.msg}, at column {error.colno}"
    return record if isinstance(record, dict) else "is not a JSON object; the format is one object a line"


def json_document(path: Path, dialect: Dialect) -> Any:
    """Return a whole JSON document. Raises BadInput with line and column when it is not valid or too large."""
    with unpacked(path, dialect.compression) as (_, stream):
        data = stream.read(DOCUMENT_BYTES + 1)
    if len(data) > DOCUMENT_BYTES:
        raise BadInput(
            f"{path}: is one JSON document of over {DOCUMENT_BYTES >> 20} MiB, which must be read whole; "
            "write one object a line (jq -c '.[]' does so)"
        )
    try:
        return orjson.loads(data.decode(dialect.encoding))
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{path}:{error.lineno}: is not JSON: {error.msg}, at column {error.colno}") from None


def records_in(document: Any, key: str | None) -> list[Any]:
    """Return the list of records in a document. `key`: see `Dialect.key`."""
    if key is not None:
        for name in key.split("."):
            document = document[name]
    return document if isinstance(document, list) else [document]


def _document(path: Path, dialect: Dialect, columns: Sequence[str], size: int) -> Iterator[Rows]:
    length = path.stat().st_size
    elements = records_in(json_document(path, dialect), dialect.key)
    for start in range(0, len(elements), size):
        part = list(enumerate(elements[start : start + size], start + 1))
        records = [(number, record) for number, record in part if isinstance(record, dict)]
        bad = [(number, "is not a JSON object") for number, record in part if not isinstance(record, dict)]
        position = length * min(start + size, len(elements)) // len(elements)
        arrays = from_records([record for _, record in records], columns)
        yield Rows(arrays, np.array([number for number, _ in records], np.int64), position, bad)


def _parquet(path: Path, dialect: Dialect, columns: Sequence[str], size: int) -> Iterator[Rows]:  # noqa: ARG001
    length, row = path.stat().st_size, 0
    with pq.ParquetFile(path) as file:
        count = max(file.metadata.num_rows, 1)
        top = [n for n in file.schema_arrow.names if any(c == n or c.startswith(f"{n}.") for c in columns)]
        for batch in file.iter_batches(size, columns=top):
            lines = row + 1 + np.arange(len(batch))
            row += len(batch)
            yield Rows(from_arrow(batch, columns), lines, length * row // count)


def vector_columns(path: Path) -> set[str]:
    """Return the columns of a Parquet file with lists of floats. Statistics leave them out: they are large."""
    schema = pq.read_schema(path)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return {
        one.name
        for one in schema
        if any(is_a(one.type) for is_a in lists) and pa.types.is_floating(one.type.value_type)
    }
