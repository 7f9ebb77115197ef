"""How many of a query's nearest rows have to be looked at until enough of them match a filter.

A filter that a tenth of the items match leaves a tenth of the rows near one query, all of them near another, and none
near a third. So the matches are not counted over all items alone, but also among some sampled ones, in their order from
the query.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats, Rows
from recsys.shard.item_table import ItemTable
from recsys.shard.row_lists import Mask

Depth = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SAMPLED = 1 << 10
"""Rows of a sample. One query is compared with 1,024 of 96 dimensions in about 10 µs."""
_NEAREST = 8
"""Nearest sampled matches that the density near a query is estimated from: its standard error is then 35 %."""
_UNLIKE = 2.0
"""A density near a query that differs by less than this factor from that of all items is taken for the same: by chance
it differs by more for one query in twenty."""
_GAP = 4.0
"""By chance there are more than so many times the mean number of others before the nearest match in one case of 50."""
_GAP_ALLOWED = 2.0
"""The same, in one case of seven: from here on no walk is made with an allow-list, which a gap misleads."""
_MORE = 1.3
"""Rows are looked at for this many times the wanted matches: with 50 wanted, two standard errors."""
_ALLOWED = 0.8
"""The same of a walk with an allow-list, which also gives the matches that it passes outside of its `ef_search`; for
queries near which matches are as frequent as everywhere."""
_FIRST = 5
"""What lies in front of the first fifth of the wanted matches is judged by itself: a slate is made of these."""
_INNER, _OUTER, _CHANCE = 0.35, 2.0, 1.0
"""The first fifth of the matches is to lie within so many times the `ef_search` of the walk, all within so many; and by
chance so many more sampled rows may be nearer."""
_SPARSER = 2.0
"""And no further than so many times as far as they would be if matches lay everywhere alike, or than a quarter of that
reach: a walk that goes deeper may go on from there."""
_STALE = 1.25
"""A sample is drawn anew when there are so many times more items, or fewer, as when it was drawn."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How far m queries have to look."""

    depths: Depth
    """(m,) nearest rows of each among which there are enough matches."""
    listed: Depth | None = None
    """(m,) `ef_search` of a walk with an allow-list that gives enough; infinite where such a walk is likely to pass
    matches, for they lie otherwise around the query than everywhere. None: it was not asked for."""


class Depths:
    """Of one table. May be called by many threads."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items
        self._sample: tuple[Rows, Floats, int] = np.zeros(0, np.int64), np.zeros((0, items.width), np.float32), 0
        """Rows, their vectors, and how many items there were when they were drawn."""

    def estimate(
        self, queries: Floats, wanted: Rows, mask: Mask, matching: int, *, allow_list: bool = False
    ) -> Estimate:
        """For each of (m, d) queries, of which (m,) `wanted` matches are to be found.

        `mask`: by row, whether it matches, see `RowLists.mask`. `matching`: how many live rows do. `allow_list`:
        whether the engine walks with one.
        """
        rows, vectors = self._drawn()
        live = max(self._items.live, 1)
        overall, enough = max(matching, 1) / live, _MORE * wanted
        seen = self._items.alive.view[rows] & (rows < len(mask))
        matches = seen & mask[np.minimum(rows, len(mask) - 1)]
        sampled = int(np.count_nonzero(seen))
        if np.count_nonzero(matches) < _NEAREST:  # so few matches are scored, unless the shard is huge
            return Estimate(np.minimum(enough / overall, live), np.full(len(queries), np.inf) if allow_list else None)
        scores = queries @ vectors.T
        nearest = np.partition(scores[:, matches], -_NEAREST, axis=1)[:, -_NEAREST:]
        if sampled < len(rows):
            scores = scores[:, seen]
        before, until = (
            np.count_nonzero(scores >= bound[:, None], axis=1) for bound in (nearest.max(axis=1), nearest[:, 0])
        )
        density = (_NEAREST - 1) / np.maximum(until - before, _NEAREST - 1)
        alike = (density < _UNLIKE * overall) & (density * _UNLIKE > overall)
        density = np.where(alike, overall, density)
        gap = np.where(before * density > _GAP, before - 1 / density, 0.0) * (live / sampled)
        depths = np.minimum(gap + enough / density, live)
        if not allow_list:
            return Estimate(depths)
        around = (alike | (density > overall)) & (before * density <= _GAP_ALLOWED)
        return Estimate(depths, np.where(around, np.where(alike, _ALLOWED, _MORE) * wanted / density, np.inf))

    def near_enough(
        self, queries: Floats, scores: Floats, chosen: Bools, wanted: Rows, depth: int, matching: int
    ) -> Bools:
        """(m,) whether walks that kept `depth` rows in sight passed what is nearer than the matches that they give.

        `scores` are (m, w) of rows, best first, of which (m, w) are `chosen`. A walk with an allow-list that comes upon
        too few matches near a query fills its answer with some that it passed on the way. Then more sampled rows lie
        nearer to the query than these than the walk kept in sight.
        """
        rows, vectors = self._drawn()
        rank, alive = np.cumsum(chosen, axis=1), self._items.alive.view[rows]
        sampled = queries @ vectors.T
        if np.count_nonzero(alive) < len(rows):
            sampled = sampled[:, alive]
        unit = self._items.live / max(sampled.shape[1], 1)
        enough = np.ones(len(queries), bool)
        for part, reach in ((_FIRST, _INNER), (1, _OUTER)):
            number = -(-wanted // part)
            at = np.argmax(rank >= number[:, None], axis=1)
            nearer = np.count_nonzero(sampled > np.take_along_axis(scores, at[:, None], 1), axis=1)
            usual = _SPARSER * number * self._items.live / max(matching, 1)
            within = np.clip(usual, reach * depth / 4, reach * depth)
            enough &= (rank[:, -1] >= number) & (nearer <= within / unit + _CHANCE)
        return enough

    def _drawn(self) -> tuple[Rows, Floats]:
        rows, vectors, of = self._sample
        live = self._items.live
        if not of / _STALE <= live <= of * _STALE:
            rows = self._items.live_rows()
            rows = np.sort(np.random.default_rng(7).choice(rows, min(_SAMPLED, len(rows)), replace=False))
            vectors = self._items.vectors(rows)
            self._sample = rows, vectors, live
        return rows, vectors


def observed(looked_at: int, matched: Rows, wanted: Rows) -> Depth:
    """(m,) float64: the same after a walk that looked at so many rows, of which `matched` matched, too few."""
    return np.maximum(2.0 * looked_at, _MORE * wanted * looked_at / np.maximum(matched, 0.5))
