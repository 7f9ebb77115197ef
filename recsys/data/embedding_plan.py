"""A catalogue with its vectors as Parquet files, made chunk by chunk: what the batch job on Ray does, without Ray.

<folder>/
├── _SUCCESS                    written last: all chunks of one run are there
├── part-00000-<hash>.parquet   a chunk; the hash is of its items, their texts and the encoder
└── .making/                    chunks that are being written, and a lock

An item's chunk follows from its id, and a chunk's name from what is in it: a chunk that is there is done, whichever
run made it, and a changed item changes no chunk but its own. Vectors of a chunk that is to be made are taken from the
chunks of earlier runs wherever the content hash is the same.
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

from recsys.config import AttributeType
from recsys.data.parquet_folders import SUCCESS
from recsys.data.vector_chunks import CHUNK, HASH, MAKING, SOURCE, content_hash, hashes_of, is_whole
from recsys.datatypes import AttributeValue, Item
from recsys.errors import BadInput
from recsys.files import Drafts
from recsys.routing import shard_of

ITEMS_A_CHUNK = 512
"""At most about so many: some seconds of work for a worker, which is what a run that is killed loses of each."""

_OURS = re.compile(r"part-\d{5}-[0-9a-f]{32}\.parquet")
_MOMENT = pa.timestamp("us", "UTC")
"""And not seconds as a number, which could be read as another unit."""
_ARROW: dict[AttributeType, pa.DataType] = {
    "keyword": pa.string(),
    "keyword[]": pa.list_(pa.string()),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "datetime": _MOMENT,
    "date": _MOMENT,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do."""

    folder: Path
    chunks: tuple[str, ...]
    """Names of all chunks of the catalogue."""
    todo: Sequence[pa.Table]
    """Those that are to be made, for `write_chunk`."""
    items: int

    @property
    def waiting(self) -> int:
        """Items of the chunks that are to be made."""
        return sum(len(rows) for rows in self.todo)

    def finish(self) -> None:
        """Drop what belongs to earlier runs only, and say that the folder is complete."""
        for path in _chunks(self.folder):
            if path.name not in self.chunks:
                path.unlink()
        (self.folder / SUCCESS).touch()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One run at a time in a folder: VersionError while another one is under way."""
    with Drafts(folder / MAKING).alone():
        for left in (folder / MAKING).glob("part-*"):  # by a run that died
            left.unlink()
        yield


def plan(
    folder: Path,
    items: Iterable[Item],
    fingerprint: str,
    declared: Mapping[str, AttributeType],
    per_chunk: int = ITEMS_A_CHUNK,
) -> Plan:
    """What is to be done so that `folder` holds the items; of several with one id the last wins.

    To be used within `alone`. From here on the folder counts as incomplete until `Plan.finish`, unless nothing is to be
    done. BadInput when it holds Parquet files of someone else.
    """
    if foreign := [p.name for p in folder.glob("[!._]*.parquet") if not _OURS.fullmatch(p.name)]:
        raise BadInput(f"{folder}: holds {foreign[0]}, which `recsys embed` did not write; name an empty folder")
    wanted = {item.item_id: item for item in items}
    names, todo = [], []
    for number, part in _parts(list(wanted.values()), per_chunk):
        rows = _table(part, fingerprint, declared)
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
    return Plan(folder, tuple(names), todo, len(wanted))


def to_encode(folder: Path, items: Iterable[Item], fingerprint: str) -> int:
    """Texts of the items that have no vector in the folder. Writes nothing; a folder that is not there has none."""
    texts = {content_hash(fingerprint, item.passage()) for item in items}
    return len(texts - _sources(folder).keys())


def _parts(items: Sequence[Item], per_chunk: int) -> Iterator[tuple[int, list[Item]]]:
    """A power of two of chunks, so that their number changes seldom; in each the items by id."""
    count = 1
    while count * per_chunk < len(items):
        count *= 2
    parts: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        parts[shard_of(item.item_id, count)].append(item)
    for number in sorted(parts):
        yield number, sorted(parts[number], key=lambda item: item.item_id)


def _table(items: Sequence[Item], fingerprint: str, declared: Mapping[str, AttributeType]) -> pa.Table:
    columns = {
        "item_id": pa.array([item.item_id for item in items], pa.string()),
        "title": pa.array([item.title for item in items], pa.string()),
        "text": pa.array([item.text for item in items], pa.string()),
        "created_at": pa.array([_microseconds(item.created_at) for item in items], _MOMENT),
        HASH: pa.array([content_hash(fingerprint, item.passage()) for item in items], pa.string()),
    }
    if declared:  # Parquet knows no struct without fields
        kinds = pa.struct([(name, _ARROW[kind]) for name, kind in declared.items()])
        moments = [name for name, kind in declared.items() if kind in ("datetime", "date")]
        columns["attributes"] = pa.array([_with_moments(item.attributes, moments) for item in items], kinds)
    return pa.table(columns)


def _with_moments(attributes: Mapping[str, AttributeValue], moments: Sequence[str]) -> dict[str, object]:
    return {**attributes, **{name: _microseconds(attributes[name]) for name in moments if name in attributes}}


def _microseconds(seconds: AttributeValue | None) -> int | None:
    return round(seconds * 1e6) if isinstance(seconds, int | float) else None


def _name(number: int, items: Sequence[Item], rows: pa.Table) -> str:
    digest = hashlib.sha256(str(rows.schema).encode())
    for item, known in zip(items, rows.column(HASH).to_pylist(), strict=True):
        digest.update(orjson.dumps(item, option=orjson.OPT_SORT_KEYS) + known.encode())
    return f"part-{number:05d}-{digest.hexdigest()[:32]}.parquet"


def _chunks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("part-*.parquet") if _OURS.fullmatch(path.name))


def _sources(folder: Path) -> dict[str, str]:
    """The file that holds the vector of each content hash."""
    found: dict[str, str] = {}
    for path in _chunks(folder):
        found |= dict.fromkeys(hashes_of(path), path.name)
    return found
