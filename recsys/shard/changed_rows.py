"""Which rows of a table have changed lately: what was derived from the table is mended by them, and not made anew."""

from __future__ import annotations

import numpy as np

from recsys.columns import Column
from recsys.datatypes import Rows

KEPT = 1 << 16
"""Changes that are remembered: half a megabyte."""


class Journal:
    """One writer, many readers, each of whom remembers how far it has read."""

    def __init__(self) -> None:
        self._state: tuple[int, Column[np.int64]] = 0, Column(np.int64)
        """Changes that are forgotten, and the rows of those after them."""

    @property
    def end(self) -> int:
        """Changes so far."""
        forgotten, rows = self._state
        return forgotten + len(rows)

    def add(self, rows: Rows) -> None:
        """To be called after the change is made."""
        forgotten, kept = self._state
        if len(kept) + len(rows) <= KEPT:
            kept.extend(rows)
        else:
            self._state = forgotten + len(kept) + len(rows), Column(np.int64)

    def since(self, position: int) -> Rows | None:
        """Rows changed after the first `position` changes, some of them several times; None: that is forgotten."""
        forgotten, rows = self._state
        return None if position < forgotten else rows.view[position - forgotten :]
