"""Which nodes of a graph no search returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Rows
from recsys.index.faiss_library import library

Bits = npt.NDArray[np.uint8]


class HiddenNodes:
    """Searches return node i while bit i of `bits` is set, the lowest bit of a byte first."""

    def __init__(self) -> None:
        self.count = 0
        self.bits: Bits = np.zeros(0, np.uint8)
        self.selector: Any = None
        """For faiss; None while no node is hidden: walks are faster without one."""

    def __len__(self) -> int:
        return self.count

    def make_room(self, nodes: int) -> None:
        """For the bits of twice as many nodes. New bits are set; only hiding clears them."""
        needed = nodes // 8 + 1
        if needed > len(self.bits):
            self.bits = np.append(self.bits, np.full(2 * needed - len(self.bits), 0xFF, np.uint8))
            self._select()

    def hide(self, nodes: Rows) -> None:
        """None of them is hidden."""
        self._flip(nodes, len(nodes))

    def show(self, nodes: Rows) -> None:
        """All of them are hidden."""
        self._flip(nodes, -len(nodes))

    @property
    def nodes(self) -> Rows:
        """(n,) int64 that are hidden, in ascending order."""
        return np.flatnonzero(~np.unpackbits(self.bits, bitorder="little").astype(bool))

    def _flip(self, nodes: Rows, more_hidden: int) -> None:
        np.bitwise_xor.at(self.bits, nodes >> 3, (1 << (nodes & 7)).astype(np.uint8))
        before, self.count = self.count, self.count + more_hidden
        if bool(before) != bool(self.count):
            self._select()

    def _select(self) -> None:
        """Renew the selector, which reads the bits in place."""
        self.selector = library().IDSelectorBitmap(self.bits) if self.count else None
