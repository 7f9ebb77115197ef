"""Rows that came by the log and are not in the index yet: a search scores them one and all beside its walk.

To link a row into a graph takes 0.4 ms at 384 dimensions, to score a thousand rows 0.1 ms. So an item is found as soon
as its row is in the table, whatever the engine, and the index takes the rows when there is time for it: one by one, in
the order of the log, and dead rows leave it at the same places in that order. So the index that comes of it is the same
whenever it happens.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats, Rows
from recsys.index.base import NO_ROW, VectorIndex, best
from recsys.shard.item_table import ItemTable
from recsys.shard.pace import Pace

MOST = 2048
"""Rows that may wait: to score so many of 384 dimensions reads 3 MB. Who adds more links some before."""
_AT_ONCE = 2
"""Rows that are linked between two pauses: about a millisecond of work."""
_PAUSES = 3
"""Pauses of paced linking, in the time of the work between them, when hardly a row waits: the shards of a machine share
its cores with what asks them. They fall with the square of the room that is left, and writes without end fill
it less."""


class FreshRows:
    """Of one shard. `link` may run beside searches and beside the writer."""

    def __init__(self, items: ItemTable, index: VectorIndex) -> None:
        """The index holds all rows that the table has now."""
        self._items, self._index = items, index
        self.first = len(items)
        """Rows from here on are fresh."""
        self._end = self.first
        """Rows from here on may not be linked yet."""
        self._removals: deque[tuple[int, Rows]] = deque()
        """Dead rows that leave the index, each with the number of rows that are linked before."""
        self.linking = False
        """Whether a row is being linked: the index is held for some of a millisecond."""
        self._turn = threading.Lock()
        """Held by the one that links, in its pauses as well."""

    @property
    def waiting(self) -> int:
        """How many rows there are."""
        return max(self._end - self.first, 0)  # either may grow while the other is read

    def admit(self) -> None:
        """Rows of the table up to its end may be linked from now on. For the writer alone."""
        self._end = len(self._items)

    def remove(self, rows: Rows) -> None:
        """Take dead rows out of the index once it has all rows of now: at once where none waits. For the writer alone,
        before `admit`.
        """
        self._removals.append((len(self._items), rows))
        if self.first == len(self._items):
            self.link(0)

    def link(self, most: int | None = None, *, paced: bool = False) -> None:
        """Put up to `most` rows into the index, oldest first; None: all that may be linked now.

        `paced`: with pauses in between, in which searches have the processor to themselves. The more rows wait, the
        shorter they are.
        """
        end = self._end if most is None else min(self.first + most, self._end)
        with self._turn:
            self._link(0)
            pace = Pace()
            while self.first < end:
                self._link(min(_AT_ONCE, end - self.first))
                if paced:
                    pace.rest(_PAUSES * max(1 - self.waiting / MOST, 0.0) ** 2)

    def _link(self, count: int) -> None:
        """The next rows, each by itself, for an engine may link what comes together in another way."""
        self.linking = True
        try:
            self._remove_due()
            for row in range(self.first, self.first + count):
                self._index.add(np.array([row]), self._items.latest_vectors(row, row + 1))
                self.first += 1
                self._remove_due()
        finally:
            self.linking = False

    def _remove_due(self) -> None:
        while self._removals and self._removals[0][0] <= self.first:
            self._index.remove(self._removals.popleft()[1])

    def beside(
        self, first: int, queries: Floats, k: int, rows: Rows, scores: Floats, mask: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Rows, Floats]:
        """(m, w) the rows of a walk that began when rows from `first` on were fresh, and the k best of these for each
        of the (m, d) queries; with exact scores, best first, padded as an index pads. w is k where the walk gave k rows
        and no items are equal, so that none of the best can be a copy of another.

        `mask`: which rows count, of the table's rows or of the first of them; None: all.
        """
        if not self._index.exact_scores or self._index.mixed:
            scores = self._exact_scores(queries, rows)
        alive = self._items.alive.view
        shown = alive[first:].copy()
        if mask is not None:
            there = mask[first : len(alive)]
            shown[: len(there)] &= there
            shown[len(there) :] = False
        likeness = queries @ self._items.latest_vectors(first, len(alive)).T
        likeness[:, ~shown] = -np.inf
        fresh, fresh_scores = best(likeness, np.arange(first, len(alive)), min(k, len(alive) - first))
        walked_scores = np.where(rows < first, scores, np.float32(-np.inf))  # the others were linked during the walk
        rows, scores = np.hstack([rows, fresh]), np.hstack([walked_scores, fresh_scores])
        width = rows.shape[1] if self._items.twins.any or rows.shape[1] - fresh.shape[1] != k else k
        order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return np.where(scores == -np.inf, NO_ROW, rows), scores

    def _exact_scores(self, queries: Floats, rows: Rows) -> Floats:
        """(m, w) of (m, w) rows; -inf where there is none."""
        scores = np.empty(rows.shape, np.float32)
        for line, some in enumerate(rows):  # a line at a time, which a core's cache holds
            scores[line] = self._items.vectors(np.maximum(some, 0)) @ queries[line]
        scores[rows < 0] = -np.inf
        return scores
