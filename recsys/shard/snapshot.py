"""A shard on disk.

| file | holds |
| --- | --- |
| `items.parquet` | the items, row by row |
| `documents.npy`, `documents_at.npy` | JSON of what only a read of the item itself needs, and where each begins |
| `vectors.npy` | (n, width) float32; float16 where `index.originals` is not float32 |
| `sketch.npy` | the directions of sketches |
| `index.bin` | the engine's own file |
| `index.npz` | the rows of each node of the index |
| `contexts.npy`, `learned.npz` | what the version learned; missing where it learned nothing |
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.columns import StringColumn
from recsys.config.index import IndexSpec, Originals
from recsys.config.platform import AttributeType
from recsys.datatypes import Floats, Item
from recsys.errors import Unavailable, VersionError
from recsys.index import stored
from recsys.index.base import HoldsVectors, engine
from recsys.model.learned import Learned
from recsys.shard.documents import document_column
from recsys.shard.item_table import ItemTable
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher

log = logging.getLogger(__name__)

_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("attributes", pa.string(), nullable=False),  # JSON
        pa.field("created_at", pa.float64()),  # Unix seconds
        pa.field("hidden", pa.bool_()),
        pa.field("available_from", pa.float64()),  # Unix seconds
        pa.field("available_until", pa.float64()),  # Unix seconds
    ]
)


def write_rows(
    folder: Path,
    items: Sequence[Item],
    vectors: Floats,
    sketcher: Sketcher,
    learned: Learned | None = None,
    originals: Originals = "float32",
) -> None:
    """Write all files but the index. Row i of every file is item i. `originals`: see `IndexSpec`."""
    folder.mkdir(parents=True)
    write_vectors(folder, vectors, originals)
    documents = document_column(items)
    np.save(folder / "documents.npy", documents.blob, allow_pickle=False)
    np.save(folder / "documents_at.npy", documents.offsets, allow_pickle=False)
    np.save(folder / "sketch.npy", sketcher.directions, allow_pickle=False)
    if learned is not None:
        learned.save(folder)
    columns = {
        "item_id": [i.item_id for i in items],
        "title": [i.title for i in items],
        "text": [i.text for i in items],
        "attributes": [orjson.dumps(dict(i.attributes)).decode() for i in items],
        "created_at": [i.created_at for i in items],
        "hidden": [i.hidden for i in items],
        "available_from": [i.available_from for i in items],
        "available_until": [i.available_until for i in items],
    }
    pq.write_table(pa.table(columns, schema=_SCHEMA), folder / "items.parquet", compression="zstd")


def write_vectors(folder: Path, vectors: Floats, originals: Originals) -> None:
    """Write the (n, width) vectors, rounded where the shard keeps them so, or not at all."""
    kind = np.float32 if originals == "float32" else np.float16
    np.save(folder / "vectors.npy", vectors.astype(kind, copy=False), allow_pickle=False)


def read_vectors(folder: Path) -> Floats:
    """(n, width) float32."""
    return np.load(folder / "vectors.npy", allow_pickle=False).astype(np.float32, copy=False)


def write_index(folder: Path, spec: IndexSpec, threads: int) -> None:
    """Index the vectors in the folder. Nearly all of a build's time is spent here; it reads files and nothing else."""
    vectors = read_vectors(folder)
    index = engine(spec).create(spec, vectors.shape[1])
    index.add(np.arange(len(vectors)), vectors, threads)
    index.save(folder / "index.bin")


def write_indexes(folders: Sequence[Path], spec: IndexSpec, threads: int) -> Iterator[Path]:
    """Index folders one after another in this process. Yield each folder when it is done."""
    for folder in folders:
        write_index(folder, spec, threads)
        yield folder


def drop_index(folder: Path) -> None:
    """Delete what the index in the folder keeps in a server of its own. The folder may be incomplete.

    Where the server is away this is logged, and the collection stays there until somebody deletes it.
    """
    try:
        stored.drop(folder / "index.bin")
    except (Unavailable, VersionError, ValueError) as error:
        log.warning("%s: its collection was not deleted: %s", folder, error)


def read_items(folder: Path) -> list[Item]:
    """The items in the folder, in the order of their rows."""
    rows = pq.read_table(folder / "items.parquet", schema=_SCHEMA).to_pylist()
    return [
        Item(**{**row, "attributes": orjson.loads(row["attributes"]), "hidden": bool(row["hidden"])}) for row in rows
    ]


def read_shard(
    folder: Path, version: str, spec: IndexSpec, declared: Mapping[str, AttributeType], cursor: str
) -> Shard:
    """The shard in the folder. Its vectors stay a read-only map of their file, which replicas on one machine share;
    with `originals: none` the shard takes those of the index.

    `cursor`: the log entry up to which the files hold the log. Raises VersionError for files with other content than
    `write_rows` and `write_index` write.
    """
    try:
        return _read_shard(folder, version, spec, declared, cursor)
    except Exception as error:  # numpy, Arrow and the engines raise errors of their own
        raise VersionError(f"{folder} cannot be read ({error}); build again, or `recsys rollback`") from error


def _read_shard(
    folder: Path, version: str, spec: IndexSpec, declared: Mapping[str, AttributeType], cursor: str
) -> Shard:
    vectors = _mapped(folder, "vectors.npy")
    if not len(vectors):  # an empty file cannot be mapped
        vectors = np.zeros(vectors.shape, np.float32)
    sketcher, learned = Sketcher(np.load(folder / "sketch.npy", allow_pickle=False)), Learned.load(folder)
    texts = vectors.shape[1] - (learned.dimension if learned else 0)
    table = ItemTable(declared, texts, sketcher, learned)
    table.adopt(read_items(folder), vectors, _documents(folder))
    index = engine(spec).load(folder / "index.bin", spec, vectors.shape[1])
    if spec.originals == "none":
        table.leave_out_vectors(cast("HoldsVectors", index).vectors, partial(_mapped, folder, "vectors.npy"))
    return Shard(version, table, index, cursor)


def _documents(folder: Path) -> StringColumn:
    offsets = _mapped(folder, "documents_at.npy")
    if not offsets[-1]:  # an empty file cannot be mapped
        return StringColumn(np.zeros(0, np.uint8), np.asarray(offsets))
    return StringColumn(np.asarray(_mapped(folder, "documents.npy")), np.asarray(offsets))


def _mapped(folder: Path, name: str) -> npt.NDArray[Any]:
    mapped: npt.NDArray[Any] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    return mapped
