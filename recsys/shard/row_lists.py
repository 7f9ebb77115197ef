"""Lists of a shard's rows: what matches a filter, and what is best by a column. Kept while the table changes.

| kept | bytes | when the table changes |
| --- | --- | --- |
| the best rows of each column | 16 for each of 8,192 rows | changed rows leave it and find their place |
| a mask for each filter | 1 for each row | rows that came are tested; no row's attributes ever change |
| answers for a column and a filter | 8 for each row of the list | all are dropped |

Masks and answers are weighed together, and those used longest ago go first.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from recsys.datatypes import Filter, Rows
from recsys.shard.item_table import ItemTable
from recsys.shard.sources import SOURCES, Values

NEW_LIKES = 5.0
"""Weighted likes from which on an item is new no more."""
NEW_ROWS = 4000
"""New rows that are looked at, the last that came: all are scored exactly."""

_NEW = "new"
"""The column of the last rows with few likes; all others are those of `sources.py`."""
BEST = 1 << 13
"""Rows kept of each column. A filter that leaves too few of them makes the shard look at all its rows."""
LEAST = 1 << 10
"""Rows of an answer for which all rows were looked at, at the least: the next request may want more than this one."""
CACHED = 64 << 20
"""Bytes of masks and answers that a shard keeps."""

Mask = npt.NDArray[np.bool_]


class RowLists:
    """Many threads may ask beside one writer of the table."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._columns: dict[str, _Best] = {}
        self._masks: LRUCache[Filter, Mask] = LRUCache(CACHED // 2, getsizeof=_weight)
        self._answers: LRUCache[tuple[str, Filter | None], tuple[Rows, bool]] = LRUCache(
            CACHED // 2, getsizeof=lambda answer: _weight(answer[0])
        )
        """Rows, best first, and whether they are all that there are."""
        self._seen = -1
        """Changes of the table that the answers contain."""

    @property
    def bytes(self) -> int:
        """Of masks and answers."""
        return int(self._masks.currsize + self._answers.currsize)

    def mask(self, given: Filter) -> Mask:
        """(n,) bool: which of the first n rows match, whether they are alive or not."""
        n = len(self._items)
        with self._lock:
            known = self._masks.get(given)
        if known is not None and len(known) >= n:
            return known
        start = 0 if known is None else len(known)
        added = self._items.attributes.mask(given, n, start)
        made = added if known is None else np.concatenate([known, added])
        with self._lock:
            if _weight(made) <= self._masks.maxsize:
                self._masks[given] = made
        return made

    def count(self, given: Filter | None) -> int:
        """Live rows that match (None: all)."""
        return self._items.live if given is None else int(np.count_nonzero(self._alive(given)))

    def matches(self, given: Filter | None) -> Rows:
        """Live rows that match."""
        known, seen = self._known("rows", given)
        if known is not None:
            return known[0]
        rows = np.flatnonzero(self._alive(given))
        self._keep("rows", given, rows, seen, complete=True)
        return rows

    def ranked(self, column: str, given: Filter | None, wanted: int | None = None) -> Rows:
        """Matching live rows, best of the column first, equal ones by row; those that the column says nothing of are
        left out. At least `wanted` of them where there are so many; None: all.

        Of equal items (see `equal_items.py`) the best stands in its place and the others at the end, as far as the best
        8,192 rows reach.
        """
        wanted = len(self._items) if wanted is None else wanted
        known, seen = self._known(column, given)
        if known is not None and (known[1] or len(known[0]) >= wanted):
            return known[0]
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
        """The last NEW_ROWS matching live rows with few likes, in their order."""
        return np.sort(self.ranked(_NEW, given, NEW_ROWS)[:NEW_ROWS])

    def _alive(self, given: Filter | None) -> Mask:
        if given is None:
            return self._items.alive.view.copy()  # numpy counts, then fills: a tombstone in between gives garbage
        mask = self.mask(given)
        return mask & self._items.alive.view[: len(mask)]

    def _known(self, what: str, given: Filter | None) -> tuple[tuple[Rows, bool] | None, int]:
        """What is known, and how many changes it contains."""
        with self._lock:
            end = self._items.journal.end
            if end != self._seen:
                self._answers.clear()
                self._seen = end
            return self._answers.get((what, given)), end

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
    told = ~np.isnan(values)
    if not told.all():
        rows, values = rows[told], values[told]
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
