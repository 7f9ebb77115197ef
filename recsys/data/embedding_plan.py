"""The plan of an embedding run, which writes a catalogue with its vectors as Parquet files, one chunk each.

<folder>/
├── _SUCCESS                    written last: all chunks of one run are complete
├── part-00000-<hash>.parquet   a chunk; the hash covers its items, their texts and the encoder
└── .making/                    chunks that are being written, and a lock

An item's id determines its chunk, and a chunk's content determines its name. So an existing chunk is finished,
whichever run wrote it, and a changed item changes only its own chunk. A new chunk takes vectors from the chunks of
earlier runs where the content hash is the same.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa

from recsys.config.platform import AttributeType
from recsys.data.parquet_folders import SUCCESS
from recsys.data.vector_chunks import CHUNK, HASH, MAKING, SOURCE, content_hash, hashes_of, is_whole
from recsys.datatypes import AttributeValue, Item
from recsys.errors import BadInput
from recsys.files import Drafts
from recsys.routing import shard_of

ITEMS_A_CHUNK = 512
"""Items of a chunk, about the most: some seconds of work, which is what a killed run loses of each worker."""

_OURS = re.compile(r"part-\d{5}-[0-9a-f]{32}\.parquet")
MOMENT = pa.timestamp("us", "UTC")
"""A timestamp and not a number of seconds, which could be read as another unit."""
_ARROW: dict[AttributeType, pa.DataType] = {
    "keyword": pa.string(),
    "keyword[]": pa.list_(pa.string()),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "datetime": MOMENT,
    "date": MOMENT,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The chunks of a catalogue, and those that a run has to write."""

    folder: Path
    chunks: tuple[str, ...]
    """Names of all chunks."""
    todo: Sequence[pa.Table]
    """The rows of each chunk to write, for `write_chunk`."""
    items: int

    @property
    def waiting(self) -> int:
        """Items of the chunks to write."""
        return sum(len(rows) for rows in self.todo)

    def finish(self) -> None:
        """Delete chunks that only earlier runs had, and mark the folder as complete."""
        for path in _chunks(self.folder):
            if path.name not in self.chunks:
                path.unlink()
        (self.folder / SUCCESS).touch()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Allow one run at a time in a folder. Raises VersionError while another one is under way."""
    with Drafts(folder / MAKING).alone():
        for unfinished in (folder / MAKING).glob("part-*"):  # of a killed run
            unfinished.unlink()
        yield


def plan(
    folder: Path,
    items: Iterable[Item],
    fingerprint: str,
    declared: Mapping[str, AttributeType],
    per_chunk: int = ITEMS_A_CHUNK,
) -> Plan:
    """Return the plan that brings `folder` to hold the items. Of several items with one id the last wins.

    The caller holds `alone`. Unless there is nothing to do, the folder counts as incomplete until `Plan.finish`. Raises
    BadInput when it holds Parquet files that `recsys embed` did not write.
    """
    if foreign := [p.name for p in folder.glob("[!._]*.parquet") if not _OURS.fullmatch(p.name)]:
        raise BadInput(f"{folder}: holds {foreign[0]}, which `recsys embed` did not write; name an empty folder")
    catalogue = {item.item_id: item for item in items}
    names, todo = [], []
    for number, part in _parts(list(catalogue.values()), per_chunk):
        rows = item_table(part, fingerprint, declared)
        names.append(_name(number, part, rows))
        if not is_whole(folder / names[-1], len(rows)):
            todo.append(rows.append_column(CHUNK, pa.array([names[-1]] * len(rows), pa.string())))
    if todo or {path.name for path in _chunks(folder)} != set(names):
        (folder / SUCCESS).unlink(missing_ok=True)
    sources = _sources(folder) if todo else {}
    todo = [
        rows.append_column(SOURCE, pa.array([sources.get(h) for h in rows.column(HASH).to_pylist()], pa.string()))
        for rows in todo
    ]
    return Plan(folder, tuple(names), todo, len(catalogue))


def to_encode(folder: Path, items: Iterable[Item], fingerprint: str) -> int:
    """Return the number of texts without a vector in the folder, which may be missing. Writes nothing."""
    texts = {content_hash(fingerprint, item.passage()) for item in items}
    return len(texts - _sources(folder).keys())


def _parts(items: Sequence[Item], per_chunk: int) -> Iterator[tuple[int, list[Item]]]:
    """Yield the number and the items, sorted by id, of each chunk. The number of chunks is a power of two: it seldom
    changes.
    """
    count = 1
    while count * per_chunk < len(items):
        count *= 2
    parts: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        parts[shard_of(item.item_id, count)].append(item)
    for number in sorted(parts):
        yield number, sorted(parts[number], key=lambda item: item.item_id)


def item_table(items: Sequence[Item], fingerprint: str, declared: Mapping[str, AttributeType]) -> pa.Table:
    """Return the items as columns that `recsys build`, Spark and pandas read. Times are timestamps in microseconds."""
    columns = {
        "item_id": pa.array([item.item_id for item in items], pa.string()),
        "title": pa.array([item.title for item in items], pa.string()),
        "text": pa.array([item.text for item in items], pa.string()),
        "created_at": pa.array([microseconds(item.created_at) for item in items], MOMENT),
        "hidden": pa.array([item.hidden for item in items], pa.bool_()),
        "available_from": pa.array([microseconds(item.available_from) for item in items], MOMENT),
        "available_until": pa.array([microseconds(item.available_until) for item in items], MOMENT),
        HASH: pa.array([content_hash(fingerprint, item.passage()) for item in items], pa.string()),
    }
    if declared:  # Parquet has no struct without fields
        columns["attributes"] = attribute_column([item.attributes for item in items], declared)
    return pa.table(columns)


def attribute_column(
    attributes: Sequence[Mapping[str, AttributeValue]], declared: Mapping[str, AttributeType]
) -> pa.Array:
    """Return attributes as a column of structs. Raises an Arrow error for a value of another type than declared."""
    kinds = pa.struct([(name, _ARROW[kind]) for name, kind in declared.items()])
    moments = [name for name, kind in declared.items() if kind in ("datetime", "date")]
    return pa.array([_with_moments(each, moments) for each in attributes], kinds)


def _with_moments(attributes: Mapping[str, AttributeValue], moments: Sequence[str]) -> dict[str, object]:
    return {**attributes, **{name: microseconds(attributes[name]) for name in moments if name in attributes}}


def microseconds(seconds: AttributeValue | None) -> int | None:
    """Return Unix seconds as a number for a column of type MOMENT."""
    return round(seconds * 1e6) if isinstance(seconds, int | float) else None


def _name(number: int, items: Sequence[Item], rows: pa.Table) -> str:
    digest = hashlib.sha256(str(rows.schema).encode())
    for item, content in zip(items, rows.column(HASH).to_pylist(), strict=True):
        digest.update(orjson.dumps(item, option=orjson.OPT_SORT_KEYS) + content.encode())
    return f"part-{number:05d}-{digest.hexdigest()[:32]}.parquet"


def _chunks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("part-*.parquet") if _OURS.fullmatch(path.name))


def _sources(folder: Path) -> dict[str, str]:
    """Return the file that holds the vector of each content hash."""
    sources: dict[str, str] = {}
    for path in _chunks(folder):
        sources |= dict.fromkeys(hashes_of(path), path.name)
    return sources
