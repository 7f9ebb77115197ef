"""One Parquet file of items with their vectors: encoded, or taken from the files of earlier runs."""

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

from recsys.datatypes import Floats, Item
from recsys.encoders.base import Encoder
from recsys.files import sync

HASH, VECTOR = "content_hash", "vector"
CHUNK, SOURCE = "chunk", "source"
"""Columns that rows have only on their way to `write_chunk`: the file to write, and the one that holds the vector."""
MAKING = ".making"
"""The folder of files that are being written, within the folder that they will be in."""


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk that was made."""

    chunk: str
    items: int
    encoded: int
    """The other vectors were taken from earlier chunks."""


def content_hash(fingerprint: str, text: str) -> str:
    """32 hex digits of the text and the encoder: same hash, same vector."""
    return hashlib.sha256(f"{fingerprint}:{text}".encode()).hexdigest()[:32]


def write_chunk(folder: Path, rows: pa.Table, encoder: Encoder) -> Written:
    """Make a chunk of the plan: take the vectors that there are, encode the others, write the file at once or not."""
    name = rows.column(CHUNK)[0].as_py()
    kept = _kept(folder, rows)
    hashes = rows.column(HASH).to_pylist()
    new = [at for at, known in enumerate(hashes) if known not in kept]
    texts = [Item("", title, text).passage() for title, text in _texts(rows.take(pa.array(new, pa.int64())))]
    vectors = np.empty((len(rows), encoder.dimension), np.float32)
    vectors[new] = encoder.encode(texts)
    for at, known in enumerate(hashes):
        if known in kept:
            vectors[at] = kept[known]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), encoder.dimension)
    made = rows.drop_columns([CHUNK, SOURCE]).append_column(VECTOR, column)
    _write(made, folder / name)
    return Written(name, len(rows), len(new))


def is_whole(path: Path, rows: int) -> bool:
    """Whether a chunk is there; it never is in part, unless the disk lost something."""
    try:
        return int(pq.read_metadata(path).num_rows) == rows
    except (OSError, pa.ArrowException):
        return False


def hashes_of(path: Path) -> list[str]:
    """The content hashes in a chunk; none where it is damaged, and its texts are encoded again."""
    try:
        return list(pq.read_table(path, columns=[HASH]).column(HASH).to_pylist())
    except (OSError, pa.ArrowException, KeyError):
        return []


def _kept(folder: Path, rows: pa.Table) -> dict[str, Floats]:
    """Vectors that earlier chunks hold, by content hash; what cannot be read is encoded again."""
    kept: dict[str, Floats] = {}
    wanted = rows.column(HASH).combine_chunks()
    for name in rows.column(SOURCE).drop_null().unique().to_pylist():
        try:
            held = pq.read_table(folder / name, columns=[HASH, VECTOR])
        except (OSError, pa.ArrowException):
            continue
        held = held.filter(pc.is_in(held.column(HASH), value_set=wanted))
        vectors = held.column(VECTOR).combine_chunks()
        rows_of = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
        kept |= dict(zip(held.column(HASH).to_pylist(), rows_of, strict=True))
    return kept


def _texts(rows: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(rows.column("title").to_pylist(), rows.column("text").to_pylist(), strict=True)


def _write(rows: pa.Table, path: Path) -> None:
    """A reader, and the next run, see the whole file or none."""
    part = path.parent / MAKING / f"{path.name}-{uuid.uuid4().hex}"
    pq.write_table(rows, part, compression="zstd")
    sync(part)
    part.replace(path)
