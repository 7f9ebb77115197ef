"""The columns of a snapshot's items, as a version stores them and an `ItemTable` adopts them: nothing is made anew.

They lie in one file that replicas map into memory. Of what a shard never reads or changes, such as the titles of items
that nobody is shown, nothing is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.columns import StringColumn
from recsys.datatypes import Item, Keys, item_keys
from recsys.index.mapped_arrays import map_arrays, write_arrays
from recsys.shard.availability import Times, bounds
from recsys.shard.equal_items import TwinColumns, content_hashes
from recsys.shard.sketches import Sketcher

FORMAT = 1
BLOCK = 1 << 14
"""Items looked at at a time: what is made of them on the way takes some MiB."""
_SKETCHED = 1 << 18
"""Components sketched in one product: 1 MiB, of which nothing stays in the heap."""


@dataclass(frozen=True, slots=True)
class SnapshotColumns:
    """`ids`, `titles` and (n,) uint64 `keys` of n items; (n, 3) float64 `numbers`, see `ItemTable.numbers`; (n, w) int8
    `sketches`; (n,) float64 `opens` and `closes`, see `availability.bounds`; and `twins`.
    """

    ids: StringColumn
    titles: StringColumn
    keys: Keys
    numbers: npt.NDArray[np.float64]
    sketches: npt.NDArray[np.int8]
    opens: Times
    closes: Times
    twins: TwinColumns

    @classmethod
    def of(
        cls, items: Sequence[Item], vectors: npt.NDArray[np.floating], sketcher: Sketcher, texts: int
    ) -> SnapshotColumns:
        """`vectors`: (n, width) of the items, a map of a file will do. `texts`: the width of their text part."""
        ids, titles, keys, created, opens, closes, contents = [], [], [], [], [], [], []
        for block in blocks(items):
            names = [item.item_id for item in block]
            ids.append(StringColumn.of(names))
            titles.append(StringColumn.of([item.title for item in block]))
            keys.append(item_keys(names))
            created.append(np.array([item.created_at for item in block], np.float64))
            contents.append(content_hashes(block))
            opened, closed = bounds(block)
            opens.append(opened)
            closes.append(closed)
        numbers = np.zeros((len(items), 3))
        numbers[:, 1], numbers[:, 2] = -np.inf, _joined(created, np.float64)
        return cls(
            StringColumn.concat(ids) if ids else StringColumn.of([]),
            StringColumn.concat(titles) if titles else StringColumn.of([]),
            _joined(keys, np.uint64),
            numbers,
            _sketches(vectors, sketcher, texts),
            _joined(opens, np.float64),
            _joined(closes, np.float64),
            TwinColumns.of(_joined(contents, np.uint64), vectors[:, texts:]),
        )

    def write(self, path: Path) -> None:
        """Write them into one file. Bounds of time are left out where no item has any."""
        unbounded = bool((self.opens == -np.inf).all() and (self.closes == np.inf).all())
        arrays: dict[str, npt.NDArray[Any]] = {
            "ids": self.ids.blob,
            "ids_at": self.ids.offsets,
            "titles": self.titles.blob,
            "titles_at": self.titles.offsets,
            "keys": self.keys,
            "numbers": self.numbers,
            "sketches": self.sketches,
            "opens": self.opens[: 0 if unbounded else None],
            "closes": self.closes[: 0 if unbounded else None],
            "twins": self.twins.keys,
            "several": self.twins.several,
            "contents": self.twins.contents,
            "firsts": self.twins.firsts,
        }
        write_arrays(path, arrays, format=FORMAT)

    @classmethod
    def read(cls, path: Path) -> SnapshotColumns:
        """Map them. Raises ValueError for a file of another format, KeyError and OSError."""
        arrays, facts = map_arrays(path)
        if facts.get("format") != FORMAT:
            raise ValueError(f"{path.name} is of format {facts.get('format')}, and this release reads {FORMAT}")
        n = len(arrays["keys"])
        opens, closes = arrays["opens"], arrays["closes"]
        if len(opens) < n:  # no array of n numbers: one number, n times
            opens, closes = np.broadcast_to(-np.inf, n), np.broadcast_to(np.inf, n)
        return cls(
            StringColumn(arrays["ids"], arrays["ids_at"]),
            StringColumn(arrays["titles"], arrays["titles_at"]),
            arrays["keys"],
            arrays["numbers"],
            arrays["sketches"],
            opens,
            closes,
            TwinColumns(arrays["twins"], arrays["several"], arrays["contents"], arrays["firsts"]),
        )


def blocks(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items, some thousands at a time: a sequence that makes them when it is asked never has all in memory."""
    for start in range(0, len(items), BLOCK):
        yield list(items[start : start + BLOCK])


def _sketches(vectors: npt.NDArray[np.floating], sketcher: Sketcher, texts: int) -> npt.NDArray[np.int8]:
    sketches = np.empty((len(vectors), sketcher.width), np.int8)
    step = max(_SKETCHED // texts, 1)
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        sketches[block] = sketcher.sketch(np.asarray(vectors[block, :texts], np.float32))
    return sketches


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts])
