"""A chunk: one Parquet file of items with their vectors, newly encoded or copied from chunks of earlier runs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.given_vectors import VECTOR
from recsys.datatypes import Floats, Item
from recsys.encoders.base import Encoder
from recsys.files import sync

HASH = "content_hash"
CHUNK, SOURCE = "chunk", "source"
"""Columns that the rows given to `write_chunk` have in addition: the file to write, and the file with the vector."""
MAKING = ".making"
"""The subfolder of files that are being written."""


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk that was written."""

    chunk: str
    items: int
    encoded: int
    """Texts that were encoded. The other vectors were copied from earlier chunks."""


def content_hash(fingerprint: str, text: str) -> str:
    """Return 32 hex digits of the text and the encoder's fingerprint. Equal hashes have equal vectors."""
    return hashlib.sha256(f"{fingerprint}:{text}".encode()).hexdigest()[:32]


def write_chunk(folder: Path, rows: pa.Table, encoder: Encoder) -> Written:
    """Write a chunk of the plan atomically: copy the vectors that exist and encode the others."""
    name = rows.column(CHUNK)[0].as_py()
    kept = _kept(folder, rows)
    hashes = rows.column(HASH).to_pylist()
    new = [at for at, content in enumerate(hashes) if content not in kept]
    texts = [Item("", title, text).passage() for title, text in _texts(rows.take(pa.array(new, pa.int64())))]
    vectors = np.empty((len(rows), encoder.dimension), np.float32)
    vectors[new] = encoder.encode(texts)
    for at, content in enumerate(hashes):
        if content in kept:
            vectors[at] = kept[content]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), encoder.dimension)
    _write(rows.drop_columns([CHUNK, SOURCE]).append_column(VECTOR, column), folder / name)
    return Written(name, len(rows), len(new))


def is_whole(path: Path, rows: int) -> bool:
    """Return whether a chunk exists with this number of rows. A damaged file does not count."""
    try:
        return int(pq.read_metadata(path).num_rows) == rows
    except (OSError, pa.ArrowException):
        return False


def hashes_of(path: Path) -> list[str]:
    """Return the content hashes of a chunk. A damaged one has none: its texts are encoded again."""
    try:
        return list(pq.read_table(path, columns=[HASH]).column(HASH).to_pylist())
    except (OSError, pa.ArrowException, KeyError):
        return []


def _kept(folder: Path, rows: pa.Table) -> dict[str, Floats]:
    """Return the vectors in earlier chunks, by content hash. Unreadable chunks are passed over."""
    kept: dict[str, Floats] = {}
    hashes = rows.column(HASH).combine_chunks()
    for name in rows.column(SOURCE).drop_null().unique().to_pylist():
        try:
            earlier = pq.read_table(folder / name, columns=[HASH, VECTOR])
        except (OSError, pa.ArrowException):
            continue
        earlier = earlier.filter(pc.is_in(earlier.column(HASH), value_set=hashes))
        vectors = earlier.column(VECTOR).combine_chunks()
        rows_of = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
        kept |= dict(zip(earlier.column(HASH).to_pylist(), rows_of, strict=True))
    return kept


def _texts(rows: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(rows.column("title").to_pylist(), rows.column("text").to_pylist(), strict=True)


def _write(rows: pa.Table, path: Path) -> None:
    """Write a file atomically: readers and the next run see all of it or nothing."""
    part = path.parent / MAKING / f"{path.name}-{uuid.uuid4().hex}"
    pq.write_table(rows, part, compression="zstd")
    sync(part)
    part.replace(path)
