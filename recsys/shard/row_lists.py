"""Lists of a shard's rows: those that match a filter, and the best of a column. They are kept while the table changes.

| kept | bytes | when the table changes |
| --- | --- | --- |
| the best rows of each column | 16 for each of 8,192 rows | changed rows leave it and find their place |
| a mask for each filter | 1 for each row | rows that came are tested; no row's attributes ever change |
| masks asked for together last | none, unless they were dropped | they are asked for anew when rows came |
| answers for a column and a filter | 8 for each row of the list | all are dropped |
| how many rows match a filter | few | all are dropped |

When masks or answers take too much memory, those used longest ago are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from recsys.datatypes import Filter, Rows
from recsys.shard.item_table import ItemTable
from recsys.shard.sources import SOURCES, Values

NEW_LIKES = 5.0
"""An item with this many weighted likes, or more, is not new any more."""
NEW_ROWS = 4000
"""The newest rows that the source `new` looks at; all of them are scored exactly."""

_NEW = "new"
"""The column of the last rows with few likes; all others are those of `sources.py`."""
BEST = 1 << 13
"""Best rows kept of each column. If a filter leaves too few of them, the shard looks at all its rows."""
LEAST = 1 << 10
"""Least rows of an answer that took a look at all rows: the next request may want more of them."""
_COUNTED = 1 << 12
"""Filters whose number of matches is kept."""
CACHED = 64 << 20
"""Bytes of masks and answers that a shard keeps."""

Mask = npt.NDArray[np.bool_]


class RowLists:
    """May be called by many threads, beside one writer of the table."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._columns: dict[str, _Best] = {}
        self._masks: LRUCache[Filter, Mask] = LRUCache(CACHED // 2, getsizeof=_weight)
        self._together: tuple[tuple[Filter, ...], tuple[Mask, ...]] = ((), ())
        """Filters that were asked for together last, and their masks: batch after batch has the same rules."""
        self._answers: LRUCache[tuple[str, Filter | None], tuple[Rows, bool]] = LRUCache(
            CACHED // 2, getsizeof=lambda answer: _weight(answer[0])
        )
        """Rows, best first, and whether there are no others."""
        self._counts: LRUCache[Filter, int] = LRUCache(_COUNTED)
        """Live rows that match."""
        self._seen = -1
        """Changes of the table that answers and counts contain."""

    @property
    def bytes(self) -> int:
        """Bytes that masks and answers take."""
        return int(self._masks.currsize + self._answers.currsize)

    def mask(self, given: Filter) -> Mask:
        """(n,) bool: which of the first n rows match, whether they are alive or not."""
        n = len(self._items)
        with self._lock:
            cached = self._masks.get(given)
        if cached is not None and len(cached) >= n:
            return cached
        start = 0 if cached is None else len(cached)
        added = self._items.attributes.mask(given, n, start)
        mask = added if cached is None else np.concatenate([cached, added])
        with self._lock:
            if _weight(mask) <= self._masks.maxsize:
                self._masks[given] = mask
        return mask

    def masks(self, filters: tuple[Filter, ...]) -> tuple[Mask, ...]:
        """The mask of each of them."""
        asked, masks = self._together
        if asked != filters or any(len(mask) < len(self._items) for mask in masks):
            masks = tuple([self.mask(given) for given in filters])
            if sum(map(_weight, masks)) <= CACHED // 2:
                self._together = filters, masks
        return masks

    def holds(self, masks: tuple[Filter, ...], ranked: Iterable[Filter]) -> bool:
        """Whether no row has to be looked at for the masks of these filters, and for `ranked` by likes of those."""
        with self._lock:
            self._renewed()
            n, (asked, known) = len(self._items), self._together
            if asked == masks and all(len(mask) >= n for mask in known):
                there = True  # nearly always
            else:
                there = all((mask := self._masks.get(given)) is not None and len(mask) >= n for given in masks)
            return there and all(("popular", given) in self._answers for given in ranked)

    def count(self, given: Filter | None) -> int:
        """How many live rows match the filter (None: all do)."""
        if given is None:
            return self._items.shown
        with self._lock:
            seen, counted = self._renewed(), self._counts.get(given)
        if counted is None:
            counted = int(np.count_nonzero(self._alive(given)))
            with self._lock:
                if seen == self._seen:
                    self._counts[given] = counted
        return counted

    def matches(self, given: Filter | None) -> Rows:
        """Live rows that match the filter (None: all do), in ascending order."""
        cached, seen = self._cached("rows", given)
        if cached is not None:
            return cached[0]
        rows = np.flatnonzero(self._alive(given))
        self._keep("rows", given, rows, seen, complete=True)
        return rows

    def ranked(self, column: str, given: Filter | None, wanted: int | None = None) -> Rows:
        """Matching live rows, the best of the column first, equal values in order of rows.

        Rows without a value in the column are left out. At least `wanted` rows, if there are so many; None: all. Of
        equal items (see `equal_items.py`) the best stands in its place and the others at the end, within the best 8,192
        rows.
        """
        wanted = len(self._items) if wanted is None else wanted
        cached, seen = self._cached(column, given)
        if cached is not None and (cached[1] or len(cached[0]) >= wanted):
            return cached[0]
        with self._lock:
            best = self._columns.setdefault(column, _Best(column))
            best.mend(self._items)
            rows, complete = best.rows, best.complete
        if given is not None:
            mask = self.mask(given)
            rows = rows[rows < len(mask)]
            rows = rows[mask[rows]]
        if not complete and len(rows) < wanted:
            most = max(wanted, BEST if self._items.twins.any else LEAST)
            rows, _, complete = best_rows(self._items, column, np.flatnonzero(self._alive(given)), most)
        if self._items.twins.any and column != _NEW:
            rows = np.concatenate(self._items.twins.parted(rows))
        self._keep(column, given, rows, seen, complete=complete)
        return rows

    def newest(self, given: Filter | None) -> Rows:
        """(n,) int64: the newest NEW_ROWS matching live rows with few likes, in ascending order."""
        return np.sort(self.ranked(_NEW, given, NEW_ROWS)[:NEW_ROWS])

    def _alive(self, given: Filter | None) -> Mask:
        if given is None:
            return self._items.alive.view.copy()  # a copy: `flatnonzero` counts and then fills, see `live_rows`
        mask = self.mask(given)
        return mask & self._items.alive.view[: len(mask)]

    def _cached(self, what: str, given: Filter | None) -> tuple[tuple[Rows, bool] | None, int]:
        """The cached answer, and how many changes of the table it contains; None: there is none."""
        with self._lock:
            end = self._renewed()
            return self._answers.get((what, given)), end

    def _renewed(self) -> int:
        """Number of changes of the table; what was kept of before them is dropped. Call it with the lock."""
        end = self._items.journal.end
        if end != self._seen:
            self._answers.clear()
            self._counts.clear()
            self._seen = end
        return end

    def _keep(self, what: str, given: Filter | None, rows: Rows, seen: int, *, complete: bool) -> None:
        with self._lock:
            if seen == self._seen and _weight(rows) <= self._answers.maxsize:
                self._answers[what, given] = (rows, complete)


class _Best:
    """The best rows of a column, and a bound that all others are behind."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._seen = -1
        self._values: Values = np.zeros(0)
        self._bound = -np.inf, 0
        """Value and row of the last that has a place in the list."""
        self.rows: Rows = np.zeros(0, np.int64)
        self.complete = False
        """Whether there are no others."""

    def mend(self, items: ItemTable) -> None:
        """Take over what has changed in the table."""
        end, changed = items.journal.end, items.journal.since(self._seen)
        if changed is None or self._seen < 0 or len(changed) > BEST:
            self._look_at_all(items)
        elif len(changed):
            self._move(items, np.unique(changed))
            if not self.complete and len(self.rows) < BEST // 2:
                self._look_at_all(items)
        self._seen = end

    def _look_at_all(self, items: ItemTable) -> None:
        rows = np.flatnonzero(items.alive.view.copy())
        self.rows, self._values, self.complete = best_rows(items, self._column, rows, BEST)
        self._bound = (-np.inf, 0) if self.complete else (float(self._values[-1]), int(self.rows[-1]))

    def _move(self, items: ItemTable, changed: Rows) -> None:
        stays = ~np.isin(self.rows, changed)
        rows, values = self.rows[stays], self._values[stays]
        changed = changed[items.alive.view[changed]]
        now = _values(items, self._column, changed)
        value, row = self._bound
        comes = now >= value if self.complete else (now > value) | ((now == value) & (changed <= row))
        if comes.any():
            rows, values = np.concatenate([rows, changed[comes]]), np.concatenate([values, now[comes]])
            order = np.lexsort((rows, -values))
            rows, values = rows[order], values[order]
        if len(rows) > 2 * BEST:
            rows, values, self.complete = rows[:BEST], values[:BEST], False
            self._bound = float(values[-1]), int(rows[-1])
        self.rows, self._values = rows, values


def _values(items: ItemTable, column: str, rows: Rows) -> Values:
    """(len(rows),) by which they are ranked, more is better; NaN: the column says nothing of it."""
    if column == _NEW:
        return np.where(items.counts.view[rows] < NEW_LIKES, rows.astype(np.float64), np.nan)
    values = SOURCES[column].values
    if values is None:
        raise ValueError(f"the source {column} has no column")
    return values(items, rows)


def best_rows(items: ItemTable, column: str, rows: Rows, most: int) -> tuple[Rows, Values, bool]:
    """The best `most` of (n,) rows in ascending order, best first, with their values; and whether these are all."""
    values = _values(items, column, rows)
    has_value = ~np.isnan(values)
    if not has_value.all():
        rows, values = rows[has_value], values[has_value]
    complete = len(rows) <= most
    if not complete:
        last = np.partition(values, len(values) - most)[len(values) - most]
        better, equal = np.flatnonzero(values > last), np.flatnonzero(values == last)
        use = np.concatenate([better, equal[: most - len(better)]])  # of equal ones the first rows
        rows, values = rows[use], values[use]
    order = np.lexsort((rows, -values))
    return rows[order], values[order], complete


def _weight(array: npt.NDArray[np.generic]) -> int:
    return array.nbytes + 200  # of the key and of what holds the two
