"""One shard of one version: items, index, and how far its log has been applied."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np

from recsys.config import ShardTuning
from recsys.datatypes import Floats, Item, Rows
from recsys.filters import Filter
from recsys.index.base import VectorIndex
from recsys.itemlog import START_OF_LOG
from recsys.items import ItemTable
from recsys.popularity import Counts

NEW_LIKES = 5.0
"""Weighted likes from which on an item is new no more."""
NEW_ROWS = 4000
"""New rows that are looked at, the last that came: all are scored exactly."""

_SWEPT = 64
"""Dead rows leave the graph whenever the number of rows reaches a multiple of this. What is inserted depends on what
was removed before, so removals must have their place in the log, wherever a replica's reading of it begins and ends."""


class Shard:
    """Searched by many threads, changed by one.

    Replicas that apply the same log to the same snapshot are equal to the bit, rows, graph and sketches, in however
    many pieces each of them read it.
    """

    def __init__(self, version: str, items: ItemTable, index: VectorIndex, cursor: str = START_OF_LOG) -> None:
        self.version = version
        self.items = items
        self.index = index
        self.cursor = cursor
        """Id of the last log entry applied."""
        self.snapshot = cursor
        """Id of the last log entry that the files hold."""
        self.tuning = ShardTuning()
        self.least_ef_search = 1
        """What the version was built to be served with: `tune` goes no lower."""
        self.top_count = 0.0
        self.changing = asyncio.Lock()
        """Held by a task that changes the shard: the log and popularity are followed by different ones."""
        self._dead: list[int] = []
        """Rows that are gone for readers and still in the graph."""
        self._orders: dict[tuple[str, Filter | None], tuple[tuple[int, int], Rows]] = {}
        self._ordering = threading.Lock()

    def tune(self, tuning: ShardTuning) -> None:
        if tuning.ef_search < self.least_ef_search:
            tuning = tuning.model_copy(update={"ef_search": self.least_ef_search})
        self.tuning = tuning
        self.index.tune(tuning)

    def upsert(self, items: Sequence[Item], vectors: Floats) -> None:
        """Insert or replace. An item stays visible: its old row goes when the new one can be found."""
        start = 0
        while start < len(items):
            part = slice(start, start + _SWEPT - len(self.items) % _SWEPT)
            rows = self.items.append(items[part], vectors[part])
            for row in rows:  # one by one, for an engine may link what comes together in another way
                self.index.add(row[None], self.items.vectors(row[None]))
            self._dead.extend(self.items.reveal(items[part], rows).tolist())
            if not len(self.items) % _SWEPT:
                self._sweep()
            start += len(rows)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Gone at once from every answer; from the graph with the next sweep.

        Where nothing is added none would come, and walks among many dead rows come back short: so after some deletions
        as well, counted one by one, for the log may be read in any pieces.
        """
        for row in self.items.delete(item_ids).tolist():
            self._dead.append(row)
            if len(self._dead) >= _SWEPT:
                self._sweep()

    def _sweep(self) -> None:
        self.index.remove(np.array(self._dead, np.int64))
        self._dead.clear()

    def count(self, counts: Counts) -> None:
        self.items.count(counts.item_ids, counts.likes, counts.trends)
        self.top_count = counts.top

    def vectors_of(self, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        """Ids of those that are here, and their (n, width) contexts, see `space.py`."""
        # Each looked up once: the writer may take an item away between two looks.
        found = {i: row for i in dict.fromkeys(item_ids) if (row := self.items.row(i)) is not None}
        return tuple(found), self.items.contexts(np.fromiter(found.values(), np.int64, len(found)))

    def item(self, item_id: str) -> Item | None:
        row = self.items.row(item_id)
        return None if row is None else self.items.item(row)

    def matches(self, given: Filter | None) -> Rows:
        """Live rows that match a Filter (None: all)."""
        return self._cached("rows", given)

    def ranked(self, column: str, given: Filter | None) -> Rows:
        """Matching live rows, best of the column first; rows that the column says nothing of are left out."""
        return self._cached(column, given)

    def _cached(self, what: str, given: Filter | None) -> Rows:
        """Derived row lists, valid until the table changes; the oldest go when there are many."""
        stamp = (self.items.generation, self.items.recounts if what in ("popular", "trending", "new") else 0)
        known = self._orders.get((what, given))
        if known is not None and known[0] == stamp:
            return known[1]
        rows = self._derive(what, given)
        with self._ordering:
            self._orders[what, given] = (stamp, rows)
            while len(self._orders) > 256:
                self._orders.pop(next(iter(self._orders)))
        return rows

    def _derive(self, what: str, given: Filter | None) -> Rows:
        n = len(self.items)
        alive = self.items.alive.view[:n].copy()  # numpy counts, then fills: a tombstone between the two gives garbage
        if what == "rows":
            return np.flatnonzero(alive if given is None else alive & self.items.attributes.mask(given, n))
        rows = self.matches(given)
        if what == "new":
            return np.sort(rows[self.items.counts.view[rows] < NEW_LIKES][-NEW_ROWS:])
        if what == "popular":
            values = self.items.counts.view[rows]
        elif what == "trending":
            values = self.items.trends.view[rows]
            rows, values = rows[values > -np.inf], values[values > -np.inf]
        else:
            values = self.items.created_at.view[rows]
            rows, values = rows[~np.isnan(values)], values[~np.isnan(values)]
        return rows[np.argsort(-values, kind="stable")]
