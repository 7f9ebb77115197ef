"""The vectors of a shard's items, by row: those of the snapshot as it was mapped, and those that came since."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recsys.columns import Column
from recsys.datatypes import Floats, Rows
from recsys.gathering import take
from recsys.index.base import NO_ROW
from recsys.index.mapped_room import empty_room
from recsys.model.learned import Learned

_ROOM = 1 << 18
"""Vectors that may come by the log before any is copied: 400 MB of addresses at 384 dimensions, of which those take
memory that are written to. To copy 131,072 of them took 21 ms, in which a shard answers nobody, and memory for those of
rows that have gone.
"""


class ItemVectors:
    """One writer, many readers. A vector is `[text | learned part]`, see `model/space.py`."""

    def __init__(self, dimension: int, learned: Learned | None) -> None:
        """`dimension`: of a text vector. `learned` None: vectors are texts alone."""
        self._dimension = dimension
        self._learned = learned
        self._width = dimension + (learned.dimension if learned else 0)
        self._snapshot: npt.NDArray[np.floating] = np.zeros((0, self._width), np.float32)
        self._snapshot_rows = 0
        self._held: Callable[[Rows], Floats] | None = None
        """Gives the vectors of the snapshot's rows where they are not kept here; None: they are."""
        self._stored: Callable[[], npt.NDArray[np.floating]] | None = None
        """Opens the snapshot's file where its vectors are not kept here."""
        self._added = Column(np.float32, (self._width,))
        if self._width and (room := empty_room(_ROOM * self._width * 4)) is not None:
            self._added.lend(room.view(np.float32).reshape(_ROOM, self._width))

    @property
    def snapshot_rows(self) -> int:
        """The first so many rows came with the snapshot."""
        return self._snapshot_rows

    def adopt(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Take over the (n, width) float32 or float16 vectors of a snapshot, which may be a read-only map of its file,
        and return them.
        """
        self._snapshot = np.asarray(vectors)  # a plain view: numpy's memmap class does Python work at every use
        self._snapshot_rows = len(vectors)
        return self._snapshot

    def leave_out(self, coded: Callable[[Rows], Floats], stored: Callable[[], npt.NDArray[np.floating]]) -> None:
        """Keep the vectors of the snapshot no longer. `coded` gives those of rows as the index holds them; `stored`
        opens their file, for measurements.
        """
        self._held, self._stored = coded, stored
        self._snapshot = np.zeros((0, self._width), np.float32)  # a slice would keep the map of the file

    @property
    def rounded(self) -> bool:
        """Whether `at` gives other vectors than the version was built of."""
        return self._held is not None

    def truth(self, rows: Rows) -> Floats:
        """(len(rows), width) float32 as the version was built of them, for measurements: read from the file where they
        are not in memory.
        """
        stored = self._stored
        if stored is None:
            return self.at(rows)
        return self._joined(rows, lambda some: np.asarray(stored()[some], np.float32))

    def extend(self, vectors: Floats) -> None:
        """Add the (n, width) vectors of the next n rows."""
        self._added.extend(vectors)

    def at(self, rows: Rows) -> Floats:
        """(len(rows), width) float32."""
        return self._joined(rows, self._held or self._kept)

    @property
    def later(self) -> Column[np.float32]:
        """(n, width) of the rows that were not adopted."""
        return self._added

    def latest(self, start: int, end: int) -> Floats:
        """(end - start, width) float32 of rows behind the snapshot's, as a view."""
        return self._added.view[start - self._snapshot_rows : end - self._snapshot_rows]

    def _kept(self, rows: Rows) -> Floats:
        return np.asarray(take(self._snapshot, rows), np.float32)

    def _joined(self, rows: Rows, of_snapshot: Callable[[Rows], Floats]) -> Floats:
        if not len(self._added):
            return of_snapshot(rows)
        vectors = np.empty((len(rows), self._width), np.float32)
        old = rows < self._snapshot_rows
        vectors[old] = of_snapshot(rows[old])
        vectors[~old] = self._added.view[rows[~old] - self._snapshot_rows]
        return vectors

    def contexts(self, rows: Rows, slots: npt.NDArray[np.int32]) -> Floats:
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
