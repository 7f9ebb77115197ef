"""One shard of one version: items, index, and how far its log has been applied."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Item, Rows
from recsys.index.base import NO_ROW, VectorIndex
from recsys.shard.allow_lists import AllowLists
from recsys.shard.fresh_rows import FreshRows
from recsys.shard.item_table import ItemTable
from recsys.shard.kept_arrays import KeptArrays
from recsys.shard.kept_likeness import MOST_BYTES
from recsys.shard.match_depth import Depths
from recsys.shard.plans import Costs, Planner
from recsys.shard.row_lists import RowLists
from recsys.shard.told_profiles import MOST_BYTES as TOLD_BYTES
from recsys.shard.told_profiles import Told
from recsys.state.item_counts import Counts
from recsys.state.item_log import START_OF_LOG

_SWEPT = 64
"""Dead rows leave the index whenever the number of rows reaches a multiple of this. What an insertion links depends on
the removals before it. So removals have fixed places in the log, wherever a replica's reading begins and ends."""
_PROMOTED_BYTES = 16 << 20
"""Bytes that are kept of what rules promote: of some 5,000 users of 512 dimensions under one rule."""
READ_S = 60.0
"""Seconds after which nobody reads a row that has gone: longer than any search or look at a page of items takes."""


class Shard:
    """Searched by many threads, changed by one.

    Replicas that apply the same log to the same snapshot are equal to the bit (rows, graph and sketches), whatever the
    pieces in which each of them reads the log, once they have linked their fresh rows. Until then these are found
    exactly.
    """

    def __init__(self, version: str, items: ItemTable, index: VectorIndex, cursor: str = START_OF_LOG) -> None:
        self.version = version
        self.items = items
        self.index = index
        self.fresh = FreshRows(items, index)
        """Rows that came and are not in the index yet. Whoever changes the shard has them linked."""
        self.lists = RowLists(items)
        self.allow_lists = AllowLists(self.lists, index)
        self.depths = Depths(items)
        self.planner = Planner(Costs.usual(items.width))
        """How the matches of a filter are looked for. Replicas measure its costs when they have loaded the shard."""
        self.told: KeptArrays[Told] = KeptArrays(TOLD_BYTES)
        """What candidates are measured with for users who came before, see `told_profiles.py`."""
        self.likeness: KeptArrays[Floats] = KeptArrays(MOST_BYTES)
        """Of candidates for users who came before, where the version learned something, see `kept_likeness.py`."""
        self.promoted: KeptArrays[Rows] = KeptArrays(_PROMOTED_BYTES)
        """Rows that rules promoted to users who came before, see `rule_matches.py`."""
        self.cursor = cursor
        """Id of the last log entry applied."""
        self.snapshot = cursor
        """Id of the last log entry that the files hold."""
        self.tuning = ShardTuning()
        self.least_ef_search = 1
        """The `ef_search` that the version was built to be served with: `tune` goes no lower."""
        self.exact = False
        """Whether every search scores all that matches, see `hold`."""
        self.changing = asyncio.Lock()
        """Held by a task that changes the shard: one task follows the log, another one popularity."""
        self._dead: list[int] = []
        """Rows that readers do not see any more, and that no sweep has taken."""
        self._left: deque[tuple[float, Rows]] = deque()
        """Rows that sweeps took, which still fill memory, each with when that was by time.monotonic()."""

    def tune(self, tuning: ShardTuning) -> None:
        if tuning.ef_search < self.least_ef_search:
            tuning = tuning.model_copy(update={"ef_search": self.least_ef_search})
        self.tuning = tuning
        self.index.tune(tuning)

    def hold(self, effort: int, *, exact: bool) -> None:
        """Search with this `ef_search` from now on, or without the graph: what `recall_control.py` decided.

        It has measured what it decides, and may go under `least_ef_search`.
        """
        self.exact = exact
        self.tuning = self.tuning.model_copy(update={"ef_search": effort})
        self.index.tune(self.tuning)

    def upsert(self, items: Sequence[Item], vectors: Floats) -> None:
        """Insert or replace items, with their (n, d) float32 text vectors.

        Searches find them from then on, as fresh rows; the index does not hold them yet.
        """
        start = 0
        while start < len(items):
            part = slice(start, start + _SWEPT - len(self.items) % _SWEPT)
            rows = self.items.append(items[part], vectors[part])
            self._dead.extend(self.items.reveal(items[part], rows).tolist())
            if not len(self.items) % _SWEPT:
                self._sweep()
            self.fresh.admit()
            start += len(rows)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items from every answer at once, and from the index with the next sweep.

        A sweep also comes after enough deletions: without additions there would be none, and walks among many dead rows
        come back short. Deletions are counted one by one, because the log may be read in any pieces.
        """
        for row in self.items.delete(item_ids).tolist():
            self._dead.append(row)
            if len(self._dead) >= _SWEPT:
                self._sweep()

    def _sweep(self) -> None:
        rows, now = np.array(self._dead, np.int64), time.monotonic()
        self.fresh.remove(rows)
        self._left.append((now, self.items.twins.forget(rows)))
        self._dead.clear()
        while self._left and now - self._left[0][0] > READ_S and self._left[0][1].max(initial=-1) < self.fresh.first:
            self.items.vacate(self._left.popleft()[1])

    def count(self, counts: Counts) -> None:
        """Take over likes and trends; items that are not here are passed over."""
        self.items.count(counts.item_ids, counts.likes, counts.trends)

    @property
    def top_count(self) -> float:
        """The most weighted likes of any item that is here."""
        return self.items.most_likes

    def present(self, item_ids: Sequence[str]) -> list[str]:
        """The items that are here, of these."""
        here = self.items.find(item_ids) != NO_ROW
        return [item_id for item_id, present in zip(item_ids, here.tolist(), strict=True) if present]

    def pages(self, size: int) -> list[Rows]:
        """The (n,) int64 rows of all items, `size` at a time."""
        rows = self.items.stored_rows()
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def counted_pages(self, size: int) -> list[Rows]:
        """The same of the items that have likes here."""
        rows = np.flatnonzero(self.items.stored.view & (self.items.counts.view[: len(self.items.stored)] != 0))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def ids(self, rows: Rows) -> list[str]:
        """Item ids of the rows."""
        return [self.items.ids[row] for row in rows.tolist()]

    def vectors_of(self, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        """Ids of the items that are here, and their (n, width) float32 contexts, see `model/space.py`."""
        # Each id is looked up once: the writer may delete an item between two looks.
        ids = list(dict.fromkeys(item_ids))
        rows = self.items.find(ids)
        here = rows != NO_ROW
        present = tuple(item_id for item_id, is_here in zip(ids, here.tolist(), strict=True) if is_here)
        return present, self.items.contexts(rows[here])

    def item(self, item_id: str) -> Item | None:
        row = self.items.row(item_id)
        return None if row is None else self.items.item(row)
