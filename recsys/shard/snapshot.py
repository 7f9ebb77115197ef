"""A shard on disk.

| file | holds |
| --- | --- |
| `items.parquet` | the items, row by row |
| `columns.bin` | the same as a shard has them in memory, see `snapshot_columns.py` |
| `documents.bin`, `documents_at.npy` | JSON of what only a read of the item itself needs, and where each begins |
| `vectors.npy` | (n, width) float32; float16 where `index.originals` is not float32 |
| `sketch.npy` | the directions of sketches |
| `index.bin` | the engine's own file |
| `index.nodes` | the rows of each node of the index |
| `contexts.npy`, `learned.npz` | what the version learned; missing where it learned nothing |

A replica maps all but the last two and `items.parquet`, of which it reads the attributes where any are declared. So it
starts without reading what it holds, and replicas of a machine share the memory. All is written and read some rows at
a time: the memory that a build takes does not grow with the items, but for the index and the columns.
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

from recsys.columns import StringColumn, lengths
from recsys.config.index import IndexSpec, Originals
from recsys.config.platform import AttributeType
from recsys.datatypes import AttributeValue, Floats, Item
from recsys.errors import Unavailable, VersionError
from recsys.index import stored
from recsys.index.base import BuildsFromFile, HoldsVectors, engine
from recsys.model.learned import Learned
from recsys.shard.documents import document_column
from recsys.shard.item_table import ItemTable
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot_columns import SnapshotColumns, blocks

log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.floating]
"""float32 or float16."""
BLOCK = 1 << 14
"""Rows written and read at a time."""
_HEADER = 128
"""Bytes of a .npy file before its array."""

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
    vectors: Vectors,
    sketcher: Sketcher,
    learned: Learned | None = None,
    originals: Originals = "float32",
) -> None:
    """Write all files but the index. Row i of every file is item i. `originals`: see `IndexSpec`.

    `items` may make them when they are asked for, and `vectors` may be a map of a file.
    """
    folder.mkdir(parents=True)
    write_vectors(folder, vectors, originals)
    np.save(folder / "sketch.npy", sketcher.directions, allow_pickle=False)
    if learned is not None:
        learned.save(folder)
    texts = vectors.shape[1] - (learned.dimension if learned else 0)
    SnapshotColumns.of(items, vectors, sketcher, texts).write(folder / "columns.bin")
    _write_documents(folder, items)
    with pq.ParquetWriter(folder / "items.parquet", _SCHEMA, compression="zstd") as file:
        for block in blocks(items):
            file.write_table(_table(block))


def _write_documents(folder: Path, items: Sequence[Item]) -> None:
    sizes = [np.zeros(1, np.int64)]
    with (folder / "documents.bin").open("wb") as file:
        for block in blocks(items):
            documents = document_column(block)
            file.write(documents.blob.data)
            sizes.append(lengths(documents.offsets))
    np.save(folder / "documents_at.npy", np.cumsum(np.concatenate(sizes)), allow_pickle=False)


def _table(items: Sequence[Item]) -> pa.Table:
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
    return pa.table(columns, schema=_SCHEMA)


def write_vectors(folder: Path, vectors: Vectors, originals: Originals) -> None:
    """Write the (n, width) vectors, rounded where the shard keeps them so, or not at all."""
    kind = np.dtype(np.float32 if originals == "float32" else np.float16)
    about = {"descr": kind.str, "fortran_order": False, "shape": vectors.shape}
    with (folder / "vectors.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for start in range(0, len(vectors), BLOCK):
            file.write(np.ascontiguousarray(vectors[start : start + BLOCK], kind).data)


def read_vectors(folder: Path) -> Floats:
    """(n, width) float32."""
    return np.load(folder / "vectors.npy", allow_pickle=False).astype(np.float32, copy=False)


def write_index(folder: Path, spec: IndexSpec, threads: int) -> None:
    """Index the vectors in the folder. Nearly all of a build's time is spent here; it reads files and nothing else."""
    vectors = _mapped(folder, "vectors.npy")
    index = engine(spec).create(spec, vectors.shape[1])
    if spec.builds_from_file:
        cast("BuildsFromFile", index).build(vectors, threads)
    else:
        index.add(np.arange(len(vectors)), np.asarray(vectors, np.float32), threads)
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
    sketcher, learned = Sketcher(np.load(folder / "sketch.npy", allow_pickle=False)), Learned.load(folder)
    texts = vectors.shape[1] - (learned.dimension if learned else 0)
    table = ItemTable(declared, texts, sketcher, learned)
    columns = SnapshotColumns.read(folder / "columns.bin")
    attributes = _attributes(folder) if declared else []
    table.adopt_columns(columns, vectors, _documents(folder), attributes)
    index = engine(spec).load(folder / "index.bin", spec, vectors.shape[1])
    if spec.originals == "none":
        table.leave_out_vectors(cast("HoldsVectors", index).vectors, partial(_mapped, folder, "vectors.npy"))
    return Shard(version, table, index, cursor)


def _attributes(folder: Path) -> Iterator[list[dict[str, AttributeValue]]]:
    """The attributes of all items, some at a time."""
    with pq.ParquetFile(folder / "items.parquet") as file:
        for batch in file.iter_batches(BLOCK, columns=["attributes"]):
            yield orjson.loads(f"[{','.join(batch.column(0).to_pylist())}]")


def _documents(folder: Path) -> StringColumn:
    offsets = _mapped(folder, "documents_at.npy")
    if not offsets[-1]:  # an empty file cannot be mapped
        return StringColumn(np.zeros(0, np.uint8), np.asarray(offsets))
    return StringColumn(np.asarray(np.memmap(folder / "documents.bin", np.uint8, "r")), np.asarray(offsets))


def _mapped(folder: Path, name: str) -> npt.NDArray[Any]:
    if not (folder / name).stat().st_size > _HEADER:  # nothing behind the header: an empty array cannot be mapped
        empty: npt.NDArray[Any] = np.load(folder / name, allow_pickle=False)
        return empty
    mapped: npt.NDArray[Any] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    return mapped
