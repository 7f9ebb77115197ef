"""Neighbour rows: the sum over the last likes of their weights for a batch's candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.columns import find
from recsys.datatypes import Floats, Keys, Rows

FADING = (None, 0.6, 0.0)
"""The decay by like in each signal: near (None: by the version's half-life), next, and near to the last like alone."""
_CELLS = 1 << 22
"""Requests times items up to which sums of neighbour rows are dense: 16 MB."""


@dataclass(frozen=True, slots=True)
class Likes:
    """The last likes, of items in the version. All arrays are (l,).

    `owners`: request. `at`: row in `Links.sources`. `places`: number of later likes of the request. `weights`: float32.
    There are `size` requests and `items` items.
    """

    owners: Rows
    at: Rows
    places: Rows
    weights: Floats
    size: int
    items: int

    def faded(self, factor: float) -> sp.csr_array:
        """Return (size, items) sparse float32: the weights, multiplied by `factor` for each later like."""
        faded = (self.weights * np.float32(factor) ** self.places).astype(np.float32)
        use = faded > 1e-3  # a smaller weight does not change the order
        return sp.csr_array((faded[use], (self.owners[use], self.at[use])), (self.size, self.items))


@dataclass(frozen=True, slots=True)
class Links:
    """Neighbour rows: the items related to each item of the version (`near`), and those that follow it (`follows`).

    `sources`: (S,) uint64 sorted keys of the version's items on all shards. `near` and `follows`: (S, n) sparse
    float32. Their columns are this shard's items in the order of the snapshot, its *slots*.
    """

    sources: Keys
    near: sp.csr_array
    follows: sp.csr_array

    def likes(self, trail: Keys, trail_offsets: Rows, weights: Floats) -> Likes:
        """Return the likes of (t,) keys and weights, newest first, with (B + 1,) offsets of the requests."""
        size = len(trail_offsets) - 1
        owners = np.repeat(np.arange(size), np.diff(trail_offsets))
        places = np.arange(len(trail)) - trail_offsets[owners]
        at = find(self.sources, trail)
        learned = at >= 0
        return Likes(owners[learned], at[learned], places[learned], weights[learned], size, len(self.sources))

    def scores(self, likes: Likes, half_life: float, requests: Rows, slots: Rows) -> Floats:
        """Return (n, 3) float32 for n pairs of request and slot: sums over the request's last likes.

        A slot of -1, an item added later, scores 0.
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
    sums.sort_indices()  # so that each cell is found by binary search
    return np.asarray(sums[requests, safe], np.float32).ravel()
