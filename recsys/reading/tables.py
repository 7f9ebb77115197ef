"""Rows of a file as columns of text, the same for every container.

A table in CSV, JSON or Parquet becomes the same columns: other values are converted to the text that CSV would have.
Numbers become their shortest text, times ISO 8601, lists JSON, and fields of objects columns named `outer.inner`. Empty
text, null and NaN are missing. `conversion.py` decides later what a cell means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """The next rows of a file."""

    columns: dict[str, pa.Array]
    """(n,) strings, null where a cell is missing. Columns that the file lacks are not in it."""
    lines: Ints
    """(n,) int64 first line of each row, from 1: a physical line of text, or a row number of Parquet or JSON."""
    position: int
    """Bytes of the file, as it is on disk, that have been read."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Line and message of rows that cannot be split into cells."""

    def __len__(self) -> int:
        return len(self.lines)

    def of(self, column: str) -> pa.Array:
        """Return a column. All its cells are missing when the file lacks it."""
        return self.columns.get(column, pa.nulls(len(self), pa.string()))

    def where(self, keep: pa.Array) -> Rows:
        """Return the rows selected by an (n,) bool."""
        kept = {name: column.filter(keep) for name, column in self.columns.items()}
        lines = self.lines[keep.to_numpy(zero_copy_only=False)]
        return Rows(kept, lines, self.position, self.bad)


def text_array(values: Sequence[str | None]) -> pa.Array:
    """Return a column of strings. Empty text becomes null."""
    return pa.array([value or None for value in values], pa.string())


def cell_text(value: object) -> str | None:
    """Return the text that CSV would have for a value of JSON or Arrow. None: it is missing."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if value != value else repr(value)  # noqa: PLR0124 - only NaN differs from itself
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | dict | tuple):
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode() if value else None
    return str(_plain(value)) or None


def _plain(value: Any) -> object:
    """Return a value that orjson does not serialize, such as bytes, a decimal or a duration, as text."""
    if isinstance(value, bytes):
        return binary_text(value)
    return str(value)


def binary_text(value: bytes) -> str:
    """Return UTF-8 bytes as text, and others, such as UUIDs, in hexadecimal."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def flattened(record: dict[str, Any], depth: int = 5) -> Iterator[str]:
    """Yield the names of an object's fields. Fields of nested objects are named `outer.inner`."""
    for name, value in record.items():
        if isinstance(value, dict) and depth:
            yield from (f"{name}.{inner}" for inner in flattened(value, depth - 1))
        else:
            yield name


def field_of(record: dict[str, Any], name: str) -> object:
    """Return a field by its flattened name. None: there is none."""
    if name in record:
        return record[name]
    outer, dot, inner = name.partition(".")
    while dot:
        value = record.get(outer)
        if isinstance(value, dict) and (inner_value := field_of(value, inner)) is not None:
            return inner_value
        further, dot, inner = inner.partition(".")
        outer = f"{outer}.{further}"
    return None


def from_records(records: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, pa.Array]:
    """Return the given fields of objects as columns."""
    arrays = {}
    for name in columns:
        if "." in name:
            values = [cell_text(field_of(record, name)) for record in records]
        else:
            values = [value if type(value := record.get(name)) is str else cell_text(value) for record in records]
        arrays[name] = text_array(values)
    return arrays


def from_arrow(batch: pa.RecordBatch, columns: Sequence[str]) -> dict[str, pa.Array]:
    """Return the given columns of a batch. Fields of structs are columns named `outer.inner`."""
    names, arrays = set(columns), {}
    for name, column in _leaves("", zip(batch.schema.names, batch.columns, strict=True)):
        if name in names and name not in arrays:
            arrays[name] = arrow_text(column)
    return arrays


def arrow_names(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that `from_arrow` accepts."""
    empty = [pa.array([], kind.type) for kind in schema]
    return list(dict.fromkeys(name for name, _ in _leaves("", zip(schema.names, empty, strict=True))))


def _leaves(outer: str, named: Any) -> Iterator[tuple[str, pa.Array]]:
    for name, column in named:
        whole = f"{outer}{name}"
        if pa.types.is_struct(column.type):
            names = [column.type.field(at).name for at in range(column.type.num_fields)]
            yield from _leaves(f"{whole}.", zip(names, column.flatten(), strict=True))
        else:
            yield whole, column


def arrow_text(column: pa.Array) -> pa.Array:
    """Return a column of any type as (n,) strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = column.cast(pa.string())
        return pc.if_else(pc.equal(text, ""), None, text)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind) or pa.types.is_date(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        # Texts of times have microseconds in every container; nanoseconds are cut.
        moments = column.cast(pa.timestamp("us", kind.tz), safe=False)
        return moments.cast(pa.timestamp("us", "UTC") if kind.tz else pa.timestamp("us")).cast(pa.string())
    return _distinct_text(column)


def _distinct_text(column: pa.Array) -> pa.Array:
    """Convert each distinct value in Python: floats, binary, lists and rare types."""
    kind = column.type
    if pa.types.is_floating(kind):
        encoded = column.dictionary_encode()
        numbers = encoded.dictionary.to_numpy(zero_copy_only=False)
        texts = [None if number != number else str(number) for number in numbers]  # noqa: PLR0124
        return pa.array(texts, pa.string()).take(encoded.indices)
    return text_array([cell_text(value) for value in column.to_pylist()])
