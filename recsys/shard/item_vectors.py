"""The vectors of a shard's items, by row: those of the snapshot as it was mapped, and those that came since."""

from __future__ import annotations

import numpy as np

from recsys.columns import Column
from recsys.datatypes import Floats, Rows
from recsys.index.base import NO_ROW
from recsys.model.learned import Learned


class ItemVectors:
    """One writer, many readers. A vector is `[text | learned part]`, see `model/space.py`."""

    def __init__(self, dimension: int, learned: Learned | None) -> None:
        """`dimension`: of a text vector. `learned` None: vectors are texts alone."""
        self._dimension = dimension
        self._learned = learned
        self._width = dimension + (learned.dimension if learned else 0)
        self._snapshot: Floats = np.zeros((0, self._width), np.float32)
        self._added = Column(np.float32, (self._width,))

    @property
    def snapshot_rows(self) -> int:
        """The first so many rows came with the snapshot."""
        return len(self._snapshot)

    def adopt(self, vectors: Floats) -> Floats:
        """Take over the (n, width) vectors of a snapshot, which may be a read-only map of its file, and return them."""
        self._snapshot = np.asarray(vectors)  # a plain view: numpy's memmap class does Python work at every use
        return self._snapshot

    def extend(self, vectors: Floats) -> None:
        """Add the (n, width) vectors of the next n rows."""
        self._added.extend(vectors)

    def at(self, rows: Rows) -> Floats:
        """(len(rows), width) float32."""
        if not len(self._added):
            return np.asarray(self._snapshot[rows])
        first_added = len(self._snapshot)
        vectors = np.empty((len(rows), self._width), np.float32)
        old = rows < first_added
        vectors[old] = self._snapshot[rows[old]]
        vectors[~old] = self._added.view[rows[~old] - first_added]
        return vectors

    def contexts(self, rows: Rows, slots: Rows) -> Floats:
        """(len(rows), width) float32: what a like of the item adds to a user.

        `slots`: the items' rows in what was learned; negative: nothing was, and the text decides.
        """
        vectors = self.at(rows)
        if self._learned is None:
            return vectors
        texts = vectors[:, : self._dimension]
        learned_part = self._learned.place(texts)[1]
        learned_part[slots >= 0] = self._learned.contexts[slots[slots >= 0]]
        return np.concatenate([texts, learned_part], axis=1)

    def widened(self, texts: Floats, rows: Rows) -> Floats:
        """(n, width) vectors of items with these (n, dimension) text vectors.

        The learned part of an item that has a row is that of the row; of one with NO_ROW it follows from the text.
        """
        if self._learned is None:
            return texts
        # One by one: the last bits of a product depend on how many rows it has, and replicas must agree.
        learned_part = np.concatenate([np.zeros((0, self._learned.dimension), np.float32),
                                       *(self._learned.place(text[None])[0] for text in texts)])  # fmt: skip
        present = rows != NO_ROW
        learned_part[present] = self.at(rows[present])[:, self._dimension :]
        return np.concatenate([texts, learned_part], axis=1)
