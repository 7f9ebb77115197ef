"""Precomputed vectors of items, out of Parquet files as Spark, pandas or `recsys embed` write them.

They are taken for texts that need not be encoded, so they must come from the encoder of the version that is built:
what is searched for and what is added later is encoded by that one, and only vectors of one encoder can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.building import Content
from recsys.chunkfiles import HASH, VECTOR, content_hash
from recsys.datatypes import Floats
from recsys.encoder import Encoder
from recsys.errors import BadInput
from recsys.parquetfolders import files_of

AGREEMENT = 0.95
"""Mean cosine to the encoder's own vectors, from which on given ones are its. Exports of one model in float32 and int8
have 0.99 and more, another model about 0."""
_SAMPLE = 16
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Given:
    """By item id; of several rows with one id the last."""

    vectors: dict[str, Floats] = field(default_factory=dict)
    """(d,) float32, of length 1."""
    hashes: dict[str, str | None] = field(default_factory=dict)
    """See `chunkfiles.content_hash`; None: the file had no such column."""

    def into(self, content: Content, encoder: Encoder) -> Content:
        """The content, whose items' texts have these vectors.

        A vector whose content hash is not that of the item's text by this encoder is left out. Of those without a
        hash a sample is encoded; BadInput when they are not alike.
        """
        known: dict[str, Floats] = {}
        unsure = []
        for item in content.items:
            vector, text = self.vectors.get(item.item_id), item.passage()
            if vector is None:
                continue
            expected = self.hashes.get(item.item_id)
            if expected is None:
                unsure.append(text)
            elif expected != content_hash(encoder.fingerprint, text):
                continue
            known[text] = vector
        _compare(known, unsure, encoder)
        brought = hashlib.sha256(np.concatenate(list(known.values())).tobytes()).hexdigest() if known else ""
        return replace(content, known={**content.known, **known}, brought=brought)


def read_vectors(paths: Sequence[Path], dimension: int, column: str | None = None, item_id: str | None = None) -> Given:
    """Vectors of those Parquet files that have them, each brought to length 1 as the encoder's are.

    `column` and `item_id`: what their columns are called; None: `vector`, which a file may lack, and `item_id`.
    BadInput names file, row (from 1) and fix of the first vector that is missing, has not `dimension` numbers, holds
    one that is not finite, or is all zeros.
    """
    given = Given()
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
        names, wanted = file.schema_arrow.names, column or VECTOR
        if wanted not in names and column is not None:
            raise BadInput(f"{path}: has no column {column}; found: {', '.join(names)[:500]}", field=VECTOR)
        if wanted not in names or item_id not in names:  # without ids the items are refused anyway
            return
        hashed, row = HASH in names, 1
        for part in file.iter_batches(_ROWS, columns=[item_id, wanted, *([HASH] if hashed else [])]):
            ids = [_id(value) for value in part.column(item_id).to_pylist()]
            hashes = part.column(HASH).to_pylist() if hashed else [None] * len(ids)
            yield ids, _Rows(path, row, wanted).vectors(part.column(wanted), dimension), hashes
            row += len(part)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where a batch stands, for messages."""

    path: Path
    first: int
    column: str

    def vectors(self, cells: pa.Array, dimension: int) -> Floats:
        """(n, dimension) float32 of length 1."""
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
        numbers = cells.flatten().to_numpy(zero_copy_only=False)  # nulls come as NaN
        wide = np.asarray(numbers, np.float64).reshape(len(cells), dimension)
        self._refuse(~np.isfinite(wide).all(axis=1), "holds a number that is not finite", "compute it anew")
        largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
        self._refuse(largest[:, 0] == 0, "is all zeros and has no direction", "compute it anew")
        scaled = wide / largest  # first, since the square of a large number may be none
        return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), np.float32)

    def _refuse(self, wrong: Any, what: Any, fix: str) -> None:
        at = np.flatnonzero(np.asarray(wrong))
        if len(at):
            raise self._wrong(int(at[0]), f"{what(at[0]) if callable(what) else what}; {fix}")

    def _wrong(self, at: int, message: str) -> BadInput:
        return BadInput(f"{self.path}:{self.first + at}: {self.column}: {message}", field=VECTOR)


def _id(value: object) -> str:
    """As the item gets it: tables often hold whole numbers. An item whose id is none is refused elsewhere."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _compare(known: Mapping[str, Floats], texts: Sequence[str], encoder: Encoder) -> None:
    """BadInput when the vectors of some of the texts, evenly spread, are not alike to the encoder's."""
    sample = [texts[at] for at in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))] if texts else []
    if not sample:
        return
    cosine = float((np.stack([known[text] for text in sample]) * encoder.encode(sample)).sum(axis=1).mean())
    if not cosine >= AGREEMENT:
        raise BadInput(
            f"vector: of {len(sample)} texts the given vectors have a mean cosine of {cosine:.3f} to those of the "
            f"config file's encoder, under {AGREEMENT}; they must come from it, of the text `title. text`: name their "
            "model under encoder, or leave the column out and texts are encoded",
            field=VECTOR,
        )
