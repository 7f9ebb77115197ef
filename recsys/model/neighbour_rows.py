"""Neighbour rows: the sum over the last likes of their weights for a batch's candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.columns import find
from recsys.datatypes import Floats, Keys, Rows
from recsys.model.sparse_sums import Weighed

FADING = (None, 0.6, 0.0)
"""The decay by like in each signal: near (None: by the version's half-life), next, and near to the last like alone."""


@dataclass(frozen=True, slots=True)
class Likes:
    """The last likes, of items in the version, those of a request in the order of their rows. All arrays are (l,).

    `owners`: request, in ascending order. `at`: row in `Links.sources`. `places`: number of later likes of the request.
    `weights`: float32. There are `size` requests and `items` items.
    """

    owners: Rows
    at: Rows
    places: Rows
    weights: Floats
    size: int
    items: int

    @property
    def single(self) -> bool:
        """Whether no request has an item twice."""
        return not np.count_nonzero((self.at[1:] == self.at[:-1]) & (self.owners[1:] == self.owners[:-1]))

    def faded(self, factor: float) -> Weighed:
        """Return the weights of each request's rows, multiplied by `factor` for each later like."""
        faded = (self.weights * np.float32(factor) ** self.places).astype(np.float32)
        return Weighed(self.owners.searchsorted(np.arange(self.size + 1)), self.at, faded, self.single)


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
        order = np.lexsort((at, owners))
        order = order[at[order] >= 0]
        return Likes(owners[order], at[order], places[order], weights[order], size, len(self.sources))

    def scores(self, likes: Likes, half_life: float, offsets: Rows, slots: Rows) -> Floats:
        """Return (n, 3) float32 for n slots, request b's at `offsets[b]:offsets[b + 1]`: sums over its last likes.

        A slot of -1, an item added later, scores 0.
        """
        out = np.zeros((len(slots), len(FADING)), np.float32)
        for column, fading in enumerate(FADING):
            faded = likes.faded(0.5 ** (1.0 / half_life) if fading is None else fading)
            faded.cells(self.follows if column == 1 else self.near, offsets, slots, out, column)
        return out
