"""Ranking signals: each makes one number between -1 and 1 of every candidate of a batch.

`long`, `near`, `follows`, `last`, `attention` and `affinity` are 0 where a version learned nothing. Training scales
what it learns so that all but a few of the best scores lie within -1 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.config import SignalName
from recsys.shard.candidates import AFFINITY, ATTENTION, BECAUSE, LAST, LONG, NEAR, NEXT, QUERY, TASTE, CandidateSet
from recsys.state.item_counts import trend_now

_BUSY = 10.0
"""Likes within a trend half-life that give half of the full trend signal."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What signals need beside the candidates."""

    now: float
    """Unix seconds."""
    trend_half_life_s: float
    recency_half_life_s: float


Signal = Callable[[CandidateSet, Moment], npt.NDArray[np.floating]]


def query(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Cosine to what was asked for: a text, or an item."""
    return c.likeness[:, QUERY]


def taste(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Cosine to the user's vector; of a version that learned, the score that its factors give."""
    return c.likeness[:, TASTE]


def long(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """The score of the whole history's factors."""
    return c.likeness[:, LONG]


def near(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Neighbour rows of the last likes, exact where factors are near."""
    return c.likeness[:, NEAR]


def follows(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """How often the item came soon after the last likes."""
    return c.likeness[:, NEXT]


def last(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """The neighbour row of the very last like."""
    return c.likeness[:, LAST]


def attention(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """What the network that reads the last likes expects next; 0 for the average item."""
    return c.likeness[:, ATTENTION]


def affinity(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Cosine of the item's keywords and those of the last likes."""
    return c.likeness[:, AFFINITY]


def because(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Cosine to the nearest of the items liked last."""
    return np.fmax.reduce(c.likeness[:, BECAUSE:], axis=1)


def popularity(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Likes on a log scale, 1 for the most liked item of the shards that answered."""
    return np.log1p(c.columns[:, 0]) / max(np.log1p(c.top_count), 1e-9)


def trend(c: CandidateSet, moment: Moment) -> npt.NDArray[np.floating]:
    """Recent likes, saturating: a/(a + 10) for a likes that are left after decay."""
    left = trend_now(c.columns[:, 1], moment.now, moment.trend_half_life_s)
    return left / (left + _BUSY)


def recency(c: CandidateSet, moment: Moment) -> npt.NDArray[np.floating]:
    """1 for an item created now (or later), halving every half-life; 0 when its age is not known."""
    age = np.maximum(moment.now - c.columns[:, 2], 0.0)
    return np.exp2(-age / moment.recency_half_life_s)


SIGNALS: dict[SignalName, Signal] = {
    "query": query,
    "taste": taste,
    "long": long,
    "near": near,
    "follows": follows,
    "last": last,
    "attention": attention,
    "affinity": affinity,
    "because": because,
    "popularity": popularity,
    "trend": trend,
    "recency": recency,
}


def measure(
    candidates: CandidateSet, moment: Moment, wanted: Collection[SignalName] = tuple(SIGNALS)
) -> npt.NDArray[np.float32]:
    """(n, len(SIGNALS)) float32, columns in the order of SIGNALS; what is not known or `wanted` counts 0."""
    made = np.zeros((len(candidates.keys), len(SIGNALS)), np.float32)
    for column, (name, signal) in enumerate(SIGNALS.items()):
        if name in wanted:
            made[:, column] = signal(candidates, moment)
    np.nan_to_num(made, copy=False)
    return np.clip(made, -1.0, 1.0, out=made)
