"""A shard's items as columns. Rows are only appended: an upsert is a new row and the old one's tombstone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import orjson

from recsys.arrays import Column, Strings
from recsys.attributes import Attributes
from recsys.config import AttributeType
from recsys.datatypes import Floats, Item, Rows, item_keys
from recsys.learned import Learned
from recsys.sketches import Sketcher


class ItemTable:
    """One writer, many readers. `vectors` of the first rows may be a read-only map of the snapshot's file."""

    def __init__(
        self,
        declared: Mapping[str, AttributeType],
        dimension: int,
        sketcher: Sketcher,
        learned: Learned | None = None,
    ) -> None:
        self.ids = Strings()
        self.titles = Strings()
        self.documents = Strings()
        self.attributes = Attributes(declared)
        self.keys = Column(np.uint64)
        self.created_at = Column(np.float64)
        """Unix seconds; NaN: unknown."""
        self.counts = Column(np.float64)
        """Weighted likes, never decayed."""
        self.trends = Column(np.float64)
        """Decayed likes as log2; -inf: none yet. See `popularity.py`."""
        self.alive = Column(np.bool_)
        self.sketches = Column(np.int8, (sketcher.width,))
        self.generation = 0
        """Goes up with every row that comes or goes: what was derived from an older one is stale."""
        self.recounts = 0
        """Goes up with every change of likes or trends."""
        self.slots = Column(np.int64)
        """The item's row in the snapshot, which what was learned of it goes by; -1: it came later."""
        self.dimension = dimension
        """Of a text vector."""
        self.learned = learned
        """None: vectors are texts alone."""
        self.width = dimension + (learned.dimension if learned else 0)
        self._sketcher = sketcher
        self._rows: dict[str, int] = {}
        self._base: Floats = np.zeros((0, self.width), np.float32)
        self._tail = Column(np.float32, (self.width,))

    def __len__(self) -> int:
        return len(self.alive)

    @property
    def live(self) -> int:
        """Items that can be recommended."""
        return len(self._rows)

    def row(self, item_id: str) -> int | None:
        return self._rows.get(item_id)

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """Rows of the ids that are here, in their order."""
        found = (self._rows.get(i) for i in item_ids)
        return np.fromiter((r for r in found if r is not None), np.int64)

    def contexts(self, rows: Rows) -> Floats:
        """(len(rows), width) float32: what a like of the item adds to a user, see `space.py`."""
        vectors = self.vectors(rows)
        if self.learned is None:
            return vectors
        texts, slots = vectors[:, : self.dimension], self.slots.view[rows]
        placed = self.learned.place(texts)[1]
        placed[slots >= 0] = self.learned.contexts[slots[slots >= 0]]
        return np.concatenate([texts, placed], axis=1)

    def vectors(self, rows: Rows) -> Floats:
        """(len(rows), width) float32."""
        base = len(self._base)
        if not len(self._tail):
            return np.asarray(self._base[rows])
        out = np.empty((len(rows), self._base.shape[1]), np.float32)
        old = rows < base
        out[old] = self._base[rows[old]]
        out[~old] = self._tail.view[rows[~old] - base]
        return out

    def adopt(self, items: Sequence[Item], vectors: Floats) -> None:
        """Fill an empty table; `vectors` is kept as it is, so a memory map stays one."""
        if len(self):
            raise ValueError("only an empty table can adopt vectors")
        self._base = np.asarray(vectors)  # a plain view: numpy's memmap class does Python work at every use
        self._extend(items, vectors)
        self.slots.view[:] = np.arange(len(items))

    def upsert(self, items: Sequence[Item], vectors: Floats) -> tuple[Rows, Rows]:
        """Append; the new rows and those that they replace. The last of several with one id wins.

        `vectors` are (n, dimension) texts; the learned part is the replaced row's, or follows from the text.
        """
        last = {item.item_id: i for i, item in enumerate(items)}
        pick = sorted(last.values())
        items = [items[i] for i in pick]
        replaced = self.rows([item.item_id for item in items])
        known = np.array([item.item_id in self._rows for item in items], bool)
        wide = vectors[pick]
        if self.learned is not None:
            parts = self.learned.place(wide)[0]
            parts[known] = self.vectors(replaced)[:, self.dimension :]
            wide = np.concatenate([wide, parts], axis=1)
        self._tail.extend(wide)
        counts, trends, slots = (c.view[replaced] for c in (self.counts, self.trends, self.slots))
        added = self._extend(items, wide)
        # What people think of an item outlives a change of its text.
        self.counts.view[added[known]], self.trends.view[added[known]] = counts, trends
        self.slots.view[added[known]] = slots
        self.alive.view[replaced] = False
        self.generation += 1  # again: a reader may have seen both rows alive
        return added, replaced

    def delete(self, item_ids: Sequence[str]) -> Rows:
        """Tombstone; the rows that went."""
        rows = self.rows(list(dict.fromkeys(item_ids)))
        for item_id in item_ids:
            self._rows.pop(item_id, None)
        self.alive.view[rows] = False
        self.generation += 1
        return rows

    def count(self, item_ids: Sequence[str], counts: Sequence[float], trends: Sequence[float]) -> None:
        """Take over popularity and trend of items; unknown ids are passed over."""
        known = [
            (r, c, t) for i, c, t in zip(item_ids, counts, trends, strict=True) if (r := self._rows.get(i)) is not None
        ]
        if not known:
            return
        found, likes, latest = zip(*known, strict=True)
        rows = np.array(found)
        if (self.counts.view[rows] != likes).any() or (self.trends.view[rows] != latest).any():
            self.counts.view[rows] = likes
            self.trends.view[rows] = latest
            self.recounts += 1

    def item(self, row: int) -> Item:
        stored = orjson.loads(self.documents[row])
        return Item(self.ids[row], self.titles[row], stored["text"], stored["attributes"], stored["created_at"])

    def live_rows(self) -> Rows:
        return np.flatnonzero(self.alive.view.copy())  # see `Shard._derive`

    def _extend(self, items: Sequence[Item], vectors: Floats) -> Rows:
        first = len(self)
        ids = [item.item_id for item in items]
        self.ids.extend(ids)
        self.titles.extend([item.title for item in items])
        self.documents.extend([_document(item) for item in items])
        self.attributes.extend(first, [item.attributes for item in items])
        self.keys.extend(item_keys(ids))
        self.created_at.extend(np.array([item.created_at for item in items], np.float64))
        self.counts.extend(np.zeros(len(items)))
        self.trends.extend(np.full(len(items), -np.inf))
        self.slots.extend(np.full(len(items), -1))
        self.sketches.extend(self._sketcher.sketch(vectors[:, : self.dimension]))
        self.alive.extend(np.ones(len(items), bool))
        rows: npt.NDArray[np.int64] = np.arange(first, first + len(items))
        self._rows.update(zip(ids, rows.tolist(), strict=True))
        self.generation += 1
        return rows


def _document(item: Item) -> str:
    """What only a read of the item itself needs, as JSON."""
    return orjson.dumps(
        {"text": item.text, "attributes": dict(item.attributes), "created_at": item.created_at}
    ).decode()
