"""Neighbour rows: what goes with the last likes, summed for a batch's candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.columns import find
from recsys.datatypes import Floats, Keys, Rows

FADING = (None, 0.6, 0.0)
"""How the last likes fade, like by like, in each signal of neighbour rows: near (None: by the version's half-life),
next, and near to the very last like alone."""
_CELLS = 1 << 22
"""Requests x items up to which sums of neighbour rows are laid out densely: 16 MB."""


@dataclass(frozen=True, slots=True)
class Likes:
    """Those of the last likes that the version knows: (l,) each, the request, the row in `Links.sources`, how many came
    after it, and what it weighs; `size` requests of `items` items.
    """

    owners: Rows
    at: Rows
    places: Rows
    weights: Floats
    size: int
    items: int

    def faded(self, factor: float) -> sp.csr_array:
        """(size, items) float32: each weighs `factor` of the one after it."""
        faded = (self.weights * np.float32(factor) ** self.places).astype(np.float32)
        use = faded > 1e-3  # less than a thousandth changes no order
        return sp.csr_array((faded[use], (self.owners[use], self.at[use])), (self.size, self.items))


@dataclass(frozen=True, slots=True)
class Links:
    """Neighbour rows: what goes with each item of the version (`near`) and what comes after it (`follows`).

    `sources` is (S,) uint64, sorted keys of all the version's items, whichever shard owns them; `near` and `follows`
    are (S, n) sparse float32, whose columns are this shard's items in the order of the snapshot, its *slots*.
    """

    sources: Keys
    near: sp.csr_array
    follows: sp.csr_array

    def likes(self, trail: Keys, trail_offsets: Rows, weights: Floats) -> Likes:
        """`trail` and `weights` are (t,), newest first, request b's at `trail_offsets[b]:trail_offsets[b + 1]`."""
        size = len(trail_offsets) - 1
        owners = np.repeat(np.arange(size), np.diff(trail_offsets))
        places = np.arange(len(trail)) - trail_offsets[owners]
        at = find(self.sources, trail)
        learned = at >= 0
        return Likes(owners[learned], at[learned], places[learned], weights[learned], size, len(self.sources))

    def scores(self, likes: Likes, half_life: float, requests: Rows, slots: Rows) -> Floats:
        """(n, 3) float32 for n pairs of request and slot: sums of the rows of the request's last likes. A slot of -1
        (an item that came later) scores 0.
        """
        out = np.zeros((len(requests), len(FADING)), np.float32)
        for column, fading in enumerate(FADING):
            faded = likes.faded(0.5 ** (1.0 / half_life) if fading is None else fading)
            out[:, column] = _cells(faded @ (self.follows if column == 1 else self.near), requests, slots)
        out[slots < 0] = 0.0
        return out


def _cells(sums: sp.csr_array, requests: Rows, slots: Rows) -> Floats:
    safe = np.maximum(slots, 0)
    if not sums.shape[1]:
        return np.zeros(len(requests), np.float32)
    if sums.shape[0] * sums.shape[1] <= _CELLS:
        return np.asarray(sums.toarray()[requests, safe], np.float32)
    sums.sort_indices()  # then each cell is found by halving
    return np.asarray(sums[requests, safe], np.float32).ravel()
