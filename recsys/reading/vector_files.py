"""Precomputed vectors of items from Parquet files, as Spark, pandas or `recsys embed` write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.canonical import canonical
from recsys.data.given_vectors import ALL_ZEROS, NOT_FINITE, VECTOR, unit
from recsys.data.parquet_folders import files_of
from recsys.data.vector_chunks import HASH
from recsys.data.wording import one_line
from recsys.datatypes import Floats
from recsys.errors import BadInput
from recsys.reading.cells import is_whole_float, whole_number
from recsys.reading.tables import arrow_text

_ROWS = 4096


@dataclass(frozen=True, slots=True)
class SuppliedVectors:
    """Vectors by item id. Of several rows with one id the last counts."""

    vectors: dict[str, Floats] = field(default_factory=dict)
    """(dimension,) float32 unit vectors."""
    hashes: dict[str, str | None] = field(default_factory=dict)
    """See `vector_chunks.content_hash`. None: the file has no such column."""


def read_vectors(
    paths: Sequence[Path], dimension: int, column: str | None = None, item_id: str | None = None
) -> SuppliedVectors:
    """Return the vectors of the Parquet files that have them, each scaled to length 1 as the encoder's are.

    `column` and `item_id`: names of their columns. None: `vector`, which a file may lack, and `item_id`. Raises
    BadInput naming file, row (from 1) and fix of the first vector that is missing, has not `dimension` numbers, has one
    that is not finite, or is all zeros.
    """
    given = SuppliedVectors()
    for path in files_of(paths):
        if path.suffix.lower() != ".parquet":
            if column is not None:
                raise BadInput(
                    f"--map vector={column}: {path} is no Parquet file, and vectors are read from those only"
                )
            continue
        try:
            for ids, vectors, hashes in _batches(path, dimension, column, item_id or "item_id"):
                given.vectors.update(zip(ids, vectors, strict=True))
                given.hashes.update(zip(ids, hashes, strict=True))
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from None
    return given


def _batches(
    path: Path, dimension: int, column: str | None, item_id: str
) -> Iterator[tuple[list[str], Floats, list[str | None]]]:
    with pq.ParquetFile(path) as file:
        names, vector = file.schema_arrow.names, column or VECTOR
        if vector not in names and column is not None:
            raise BadInput(one_line(f"{path}: has no column {column}; found: {', '.join(names)[:500]}"), field=VECTOR)
        if vector not in names or item_id not in names:  # items without ids are refused anyway
            return
        hashed, row = HASH in names, 1
        for part in file.iter_batches(_ROWS, columns=[item_id, vector, *([HASH] if hashed else [])]):
            ids = _ids(part.column(item_id))
            hashes = part.column(HASH).to_pylist() if hashed else [None] * len(ids)
            yield ids, _Rows(path, row, vector).vectors(part.column(vector), dimension), hashes
            row += len(part)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The position of a batch, for messages."""

    path: Path
    first: int
    column: str

    def vectors(self, cells: pa.Array, dimension: int) -> Floats:
        """Return (n, dimension) float32 unit vectors."""
        kind = cells.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not is_list or not pa.types.is_floating(kind.value_type):
            what = f"the column is of type {str(kind)[:100]}, not a list of float or double"
            raise self._wrong(0, f"{what}; in Spark write array<float>, of an ML vector with vector_to_array")
        self._refuse(cells.is_null(), "is missing", "give every row one, or leave the column out and texts are encoded")
        lengths = pc.list_value_length(cells).to_numpy(zero_copy_only=False)
        self._refuse(
            lengths != dimension,
            lambda at: f"has {lengths[at]} numbers, and the config file's encoder makes {dimension}",
            "give vectors of that encoder (encoder.dimension), or leave the column out and texts are encoded",
        )
        numbers = cells.flatten().to_numpy(zero_copy_only=False)  # nulls become NaN
        wide = np.asarray(numbers, np.float64).reshape(len(cells), dimension)
        self._refuse(~np.isfinite(wide).all(axis=1), NOT_FINITE, "compute it anew")
        self._refuse(~wide.any(axis=1), ALL_ZEROS, "compute it anew")
        return unit(wide)

    def _refuse(self, wrong: Any, what: Any, fix: str) -> None:
        at = np.flatnonzero(np.asarray(wrong))
        if len(at):
            raise self._wrong(int(at[0]), f"{what(at[0]) if callable(what) else what}; {fix}")

    def _wrong(self, at: int, message: str) -> BadInput:
        return BadInput(f"{self.path}:{self.first + at}: {self.column}: {message}", field=VECTOR)


def _ids(column: pa.Array) -> list[str]:
    """Return ids as `conversion.py` reads those of items. It refuses an item without an id."""
    texts = [canonical(text or "") for text in arrow_text(column).to_pylist()]
    return list(map(whole_number, texts)) if all(map(is_whole_float, filter(None, texts))) else texts
