"""Made-up people and what they liked, shaped as real interactions are, for a version that learns from them.

Few items are liked often, and three quarters never. People stay with one or two clusters of items, begin with what
everybody knows, and go on from item to item the longer they are there; likes come in sessions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from load_tests.comparison.workload import Workload, item_id, user_id

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

GENRES, BRANDS = 40, 300
_LIKED = 0.25
"""Share of each cluster's items that anybody likes."""
_FOLLOWERS = 4
"""Items that people go on to from an item."""
_FEWEST, _MOST = 8, 200
"""Likes of a person."""
_SESSION, _PAUSE_S, _REST_S = 0.6, 300.0, 172_800.0
"""Share of the likes that come in the session of the one before, the mean seconds between these, and between others."""
_DAY = 86_400.0


@dataclass(frozen=True)
class Likes:
    """n likes, grouped by person, oldest first. All arrays are (n,)."""

    people: Ints
    items: Ints
    ages: Doubles
    """Seconds before now."""


@dataclass(frozen=True)
class People:
    """The first `work.users` are those whose recommendations are asked for."""

    work: Workload
    others: int = 1500
    seed: int = 11

    @cached_property
    def likes(self) -> Likes:
        rng, count = np.random.default_rng(self.seed), self.work.users + self.others
        order, bounds = self._by_fame
        homes = rng.integers(self.work.clusters, size=(count, 2))
        lengths = np.clip(rng.lognormal(3.6, 0.6, count), _FEWEST, _MOST).astype(np.int64)
        followers = order[self._place(rng, np.repeat(self.work.own, _FOLLOWERS), bounds)].reshape(-1, _FOLLOWERS)
        chosen = np.zeros((count, int(lengths.max())), np.int64)
        for step in range(chosen.shape[1]):
            drawn, draw = rng.random(count), rng.random(count)
            cluster = np.where(drawn < 0.7, homes[:, 0], homes[:, 1])
            cluster = np.where(drawn < 0.9, cluster, rng.integers(self.work.clusters, size=count))
            chosen[:, step] = order[self._place(rng, cluster, bounds)]
            if step:
                on = followers[chosen[:, step - 1], rng.integers(_FOLLOWERS, size=count)]
                walking = draw < 0.8 * step / (step + 8.0)
                chosen[walking, step] = on[walking]
        gaps = np.where(
            rng.random(chosen.shape) < _SESSION,
            rng.exponential(_PAUSE_S, chosen.shape),
            rng.exponential(_REST_S, chosen.shape),
        )
        ages = rng.exponential(_DAY, count)[:, None] + gaps.cumsum(axis=1)  # of the newest first
        kept = np.arange(chosen.shape[1]) < lengths[:, None]
        back = np.maximum(lengths[:, None] - 1 - np.arange(chosen.shape[1]), 0)
        return Likes(np.nonzero(kept)[0], chosen[kept], np.take_along_axis(ages, back, axis=1)[kept])

    @cached_property
    def _by_fame(self) -> tuple[Ints, Doubles]:
        """Items by cluster, the most liked first, and where in 0 to `clusters` each ends: cluster c has c to c + 1."""
        rank = np.random.default_rng(self.seed + 1).permutation(self.work.items)
        order = np.lexsort((rank, self.work.own))
        own = self.work.own[order]
        starts = np.searchsorted(own, np.arange(self.work.clusters))
        place = np.arange(self.work.items) - starts[own]
        share = np.where(place <= _LIKED * np.bincount(own)[own], (place + 3.0) ** -0.9, 0.0)
        share /= np.bincount(own, share, self.work.clusters)[own]
        ends = np.cumsum(share)
        return order, ends - np.append(0.0, ends)[starts][own] + own

    def _place(self, rng: np.random.Generator, clusters: Ints, bounds: Doubles) -> Ints:
        """Places in `_by_fame` of an item of each cluster, drawn by fame."""
        places = np.searchsorted(bounds, clusters + rng.random(len(clusters)) * (1 - 1e-9))
        return np.minimum(places, self.work.items - 1)

    def attributes(self) -> list[dict[str, Any]]:
        """Of each item: its cluster's genre and another one, and a brand."""
        rng = np.random.default_rng(self.seed + 2)
        other, brand = rng.integers(GENRES, size=self.work.items), rng.integers(BRANDS, size=self.work.items)
        return [
            {"genres": list(dict.fromkeys((f"genre-{own % GENRES}", f"genre-{more}"))), "brand": f"brand-{by}"}
            for own, more, by in zip(self.work.own.tolist(), other.tolist(), brand.tolist(), strict=True)
        ]

    def ages(self) -> Doubles:
        """(items,) seconds since each item was made, within a year."""
        return np.random.default_rng(self.seed + 3).random(self.work.items) * 365 * _DAY

    def events(self, now: float, at_once: int = 1000) -> Iterator[list[dict[str, Any]]]:
        """Bodies of POST /v1/events with the likes of those who are asked for. `now`: Unix seconds."""
        asked = self.likes.people < self.work.users
        columns = (column[asked].tolist() for column in (self.likes.people, self.likes.items, now - self.likes.ages))
        records = [
            {
                "event_id": f"people-{n}",
                "user_id": user_id(person),
                "item_id": item_id(item),
                "type": "like",
                "timestamp": when,
            }
            for n, (person, item, when) in enumerate(zip(*columns, strict=True))
        ]
        for start in range(0, len(records), at_once):
            yield records[start : start + at_once]
