"""Rows out of tables of text, JSON and Parquet, in bounded memory, each with its place in the file."""

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

from recsys.errors import BadInput
from recsys.reading.dialect import Dialect
from recsys.reading.packed_files import lines_of, text_of, told, unpacked
from recsys.reading.separators import cells_of
from recsys.reading.tables import Rows, from_arrow, from_records, text_array

DOCUMENT_BYTES = 512 << 20
"""Of a JSON document, which is held in memory whole."""


def read_rows(path: Path, dialect: Dialect, columns: Sequence[str], size: int) -> Iterator[Rows]:
    """The wanted columns, at most `size` rows at a time. BadInput where the file cannot be read at all."""
    readers = {"delimited": _delimited, "json lines": _json_lines, "json document": _document, "parquet": _parquet}
    with told(path):
        yield from readers[dialect.container](path, dialect, columns, size)


class Lines:
    """Physical lines, numbered from 1, that can be given back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.number = 1
        """Of the next line."""

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
    """The columns at `places`, by Arrow's reader; None where the lines need a closer look, as quotes and blank lines
    do, for only a reader that counts physical lines can name the line of a bad row.
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
    except (pa.ArrowInvalid, UnicodeEncodeError):  # rows of other widths, bytes that are no text
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
    made = {name: text_array([row[at] for row in cells]) for name, at in zip(columns, places, strict=True)}
    return Rows(made, np.array(numbers, np.int64), raw.tell(), bad)


def split_rows(lines: Lines, dialect: Dialect) -> Iterator[tuple[int, list[str] | str]]:
    """Rows, or what is wrong with one, by their first physical line; blank lines are skipped.

    Takes no more lines than its rows need, so that it can be left at any row.
    """
    taken: list[str] = []

    def feed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = cells_of(feed(), dialect.separator, dialect.quote)
    while True:
        taken.clear()
        number = lines.number
        try:
            row = next(reader, None)
        except csv.Error as error:
            # A quote that is never closed swallows good rows: all but its own line are read again.
            lines.give_back(taken[1:])
            reader = cells_of(feed(), dialect.separator, dialect.quote)
            yield number, f"is not CSV: {error}"
            continue
        if row is None:
            return
        if not all(map(is_text, taken)):
            yield number, not_text(dialect.encoding)
        elif row and not (len(row) == 1 and not row[0].strip() and len(dialect.columns) > 1):
            yield number, row


def is_text(line: str) -> bool:
    """Whether all its bytes were of the encoding."""
    if line.isascii():
        return True
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_text(encoding: str) -> str:
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
    """The object of a line, what is wrong with the line, or None for a blank one."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if line.isspace():
            return None
        if not is_text(line):
            return not_text(encoding)
        return f"is not JSON: {error.msg}, at column {error.colno}"
    return record if isinstance(record, dict) else "is not a JSON object; the format is one object a line"


def json_document(path: Path, dialect: Dialect) -> Any:
    """The whole document. BadInput with line and column where it is none."""
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
    """The list of records of a document."""
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
    """Columns of a Parquet file that hold lists of floats: vectors, which say nothing to people and take long."""
    schema = pq.read_schema(path)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return {
        one.name
        for one in schema
        if any(is_a(one.type) for is_a in lists) and pa.types.is_floating(one.type.value_type)
    }
