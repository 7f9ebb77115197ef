"""When items may be shown: hidden ones never, others within their bounds of time.

Few items have bounds. Their rows are looked at again whenever the clock passes a bound of any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.columns import Column
from recsys.datatypes import Item, Rows

Bools = npt.NDArray[np.bool_]
Times = npt.NDArray[np.float64]


def bounds(items: Sequence[Item]) -> tuple[Times, Times]:
    """(n,) Unix seconds at which each item opens and closes, -inf and inf for none; a hidden one opens at inf."""
    opens = np.array([np.inf if i.hidden else _or(i.available_from, -np.inf) for i in items], np.float64)
    return opens, np.array([_or(i.available_until, np.inf) for i in items], np.float64)


class Availability:
    """Columns over a shard's rows. `now` is in Unix seconds, here and below."""

    def __init__(self, now: float) -> None:
        self.now = now
        """The moment of which `is_open` tells."""
        self._always = 0
        """So many first rows have no bounds, and are not in the columns that follow."""
        self._opens = Column(np.float64)
        self._closes = Column(np.float64)
        """Unix seconds; a hidden item opens at infinity."""
        self._bounded = Column(np.int64)
        """Rows with a finite bound."""
        self._steady = (-np.inf, np.inf)
        """From when on, and until when, nothing changes."""

    def adopt(self, opens: Times, closes: Times) -> None:
        """Fill it with (n,) `bounds` of all rows so far, which are not copied.

        One number n times, as `SnapshotColumns.read` gives it, says that no row has bounds.
        """
        if opens.strides == (0,):
            self._always = len(opens)
            return
        self._opens.adopt(opens)
        self._closes.adopt(closes)
        self._look_for_bounds(0, opens, closes)

    def extend(self, items: Sequence[Item]) -> None:
        """Add a row for each item."""
        first = self._always + len(self._opens)
        opens, closes = bounds(items)
        self._opens.extend(opens)
        self._closes.extend(closes)
        self._look_for_bounds(first, opens, closes)

    def _look_for_bounds(self, first: int, opens: Times, closes: Times) -> None:
        bounded = (opens != np.inf) & (np.isfinite(opens) | np.isfinite(closes))
        if bounded.any():
            self._bounded.extend(np.flatnonzero(bounded) + first)
            self._settle()

    def open_now(self) -> Bools:
        """(n,) bool: which of all rows may be shown."""
        later = (self._opens.view <= self.now) & (self.now < self._closes.view)
        return np.concatenate([np.ones(self._always, bool), later]) if self._always else later

    def is_open(self, rows: Rows) -> Bools:
        """(n,) bool: which of the rows may be shown."""
        return self._open_at(rows, self.now)

    def steady(self, now: float) -> bool:
        """Whether the same rows may be shown at `now`."""
        start, end = self._steady
        return start <= now < end

    def move(self, now: float) -> Rows:
        """Set the clock, in Unix seconds. Return the (n,) int64 rows for which that changes anything."""
        rows = self._bounded.view
        changed = self._open_at(rows, now) != self._open_at(rows, self.now)
        self.now = now
        self._settle()
        return rows[changed]

    def _open_at(self, rows: Rows, now: float) -> Bools:
        if not self._always:
            return (self._opens.view[rows] <= now) & (now < self._closes.view[rows])
        bounded = rows >= self._always
        places = rows[bounded] - self._always
        is_open = np.ones(len(rows), bool)
        is_open[bounded] = (self._opens.view[places] <= now) & (now < self._closes.view[places])
        return is_open

    def _settle(self) -> None:
        rows = self._bounded.view - self._always
        bounds = np.concatenate([self._opens.view[rows], self._closes.view[rows]])
        past = bounds <= self.now
        self._steady = (
            float(bounds.max(where=past, initial=-np.inf)),
            float(bounds.min(where=~past, initial=np.inf)),
        )


def _or(bound: float | None, otherwise: float) -> float:
    return otherwise if bound is None else bound
