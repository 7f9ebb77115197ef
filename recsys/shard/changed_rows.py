"""Which rows of a table changed lately: what is derived from the table is updated by them, and not made anew."""

from __future__ import annotations

import numpy as np

from recsys.columns import Column
from recsys.datatypes import Rows

KEPT = 1 << 16
"""Most changes that are remembered: half a megabyte."""


class Journal:
    """One writer, many readers. Each reader remembers how far it has read."""

    def __init__(self) -> None:
        self._state: tuple[int, Column[np.int64]] = 0, Column(np.int64)
        """How many changes are forgotten, and the rows of the changes after them."""

    @property
    def end(self) -> int:
        """Number of changes so far."""
        forgotten, rows = self._state
        return forgotten + len(rows)

    def add(self, rows: Rows) -> None:
        """Note changed rows. Call it after the change is made."""
        forgotten, kept = self._state
        if len(kept) + len(rows) <= KEPT:
            kept.extend(rows)
        else:
            self._state = forgotten + len(kept) + len(rows), Column(np.int64)

    def since(self, position: int) -> Rows | None:
        """(n,) int64 rows of the changes behind the first `position`; a row may occur several times. None: they are
        forgotten.
        """
        forgotten, rows = self._state
        return None if position < forgotten else rows.view[position - forgotten :]
