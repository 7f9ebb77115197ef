"""The ranking signals, one row of the table each: a number between -1 and 1 for every candidate of a batch.

The table determines the weights that a scenario may have, the vectors that a batch sends to the shards, the grids of
the training, the features of the trees, and the explanations. docs/contributing.md describes how to add a signal.
Learned signals are 0 for a version without a model. Training scales them so that nearly all best scores are within -1
and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.shard.candidates import BECAUSE, LONG, QUERY, ROLES, TASTE, CandidateSet
from recsys.shard.trail_measures import TRAIL

_BUSY = 10.0
"""Likes within a trend half-life that give half of the full trend signal."""


class Moment(msgspec.Struct, frozen=True):
    """The inputs of signals beside the candidates."""

    now: float
    """Unix seconds."""
    trend_half_life_s: float
    recency_half_life_s: float


Compute = Callable[[CandidateSet, Moment], npt.NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Signal:
    """A row of the table."""

    says: str
    """The meaning of the number, for explanations."""
    compute: Compute
    """Returns (n,) floats for n candidates. NaN, unknown, counts 0."""
    roles: tuple[int, ...] = ()
    """Roles, in `ShardQuery.vector_role`, of the vectors that candidates are compared with. A batch sends them if the
    signal has a weight, even if no source searches their neighbours."""
    trail: bool = False
    """Whether shards compute it from the last likes (`shard/trail_measures.py`), which a batch then sends."""
    weight: float = 0.0
    """Weight in a scenario without weights."""
    start: float = 0.0
    """Weight at which training starts its search."""
    grid: tuple[float, ...] = ()
    """Weights that training tries. Empty: the weight stays at `start`."""
    turn: int = 0
    """Training searches the signals in this order."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A signal that is a column of `CandidateSet.likeness`, which shards compute."""

    column: int

    def __call__(self, candidates: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
        return candidates.likeness[:, self.column]


@dataclass(frozen=True, slots=True)
class Largest:
    """A signal that is the largest of some columns of `CandidateSet.likeness`: those from `first` to before `end`."""

    first: int
    end: int

    def __call__(self, candidates: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
        return np.fmax.reduce(candidates.likeness[:, self.first : self.end], axis=1)


@lru_cache(16)  # shards' own change seldom
def _most(top_count: float) -> float:
    return max(np.log1p(top_count), 1e-9)


def popularity(c: CandidateSet, _: Moment) -> npt.NDArray[np.floating]:
    """Return (n,) logarithms of likes, as a share of that of the most liked item."""
    return np.log1p(c.columns[:, 0]) / _most(c.top_count)


def trend_now(trends: npt.NDArray[np.float64], now: float, half_life_s: float) -> npt.NDArray[np.float64]:
    """Return (n,) float64 decayed likes, from the logarithms in `trends`; 0 without any."""
    return np.exp2(np.minimum(trends - now / half_life_s, 60.0))


def trend(c: CandidateSet, moment: Moment) -> npt.NDArray[np.floating]:
    """Return (n,) a/(a + 10) for a likes after decay."""
    left = trend_now(c.columns[:, 1], moment.now, moment.trend_half_life_s)
    return left / (left + _BUSY)


def recency(c: CandidateSet, moment: Moment) -> npt.NDArray[np.floating]:
    """Return (n,) 1 for an item created now or later, halved every half-life; 0 without a creation time."""
    age = np.maximum(moment.now - c.columns[:, 2], 0.0)
    return np.exp2(-age / moment.recency_half_life_s)


SIGNALS = {
    "query": Signal(
        "cosine to what was asked for: a text, or an item",
        Likeness(QUERY), roles=(QUERY,), start=1.0,
    ),
    "taste": Signal(
        "cosine to the user's vector; of a version that learned, the score that its factors give",
        Likeness(TASTE), roles=(TASTE,), weight=1.0, start=1.0, grid=(0.0, 0.25, 0.5, 1.0, 2.0, 4.0), turn=1,
    ),
    "long": Signal(
        "score of the whole history's factors",
        Likeness(LONG), roles=(LONG,), grid=(0.0, 0.01, 0.03, 0.1, 0.4), turn=2,
    ),
    "near": Signal(
        "neighbour rows of the last likes, exact where factors are approximate",
        Likeness(TRAIL["near"]), trail=True, start=1.0, grid=(0.0, 0.5, 1.0, 2.0, 4.0, 8.0), turn=3,
    ),
    "follows": Signal(
        "how often the item came soon after the last likes",
        Likeness(TRAIL["follows"]), trail=True, grid=(0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2), turn=4,
    ),
    "last": Signal(
        "neighbour row of the very last like",
        Likeness(TRAIL["last"]), trail=True, grid=(0.0, 0.1, 0.3, 1.0, 3.0), turn=5,
    ),
    "attention": Signal(
        "what the network that reads the last likes expects next; 0 for the average item",
        Likeness(TRAIL["attention"]), trail=True, grid=(0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), turn=9,
    ),
    "affinity": Signal(
        "cosine of the item's keywords to those of the last likes",
        Likeness(TRAIL["affinity"]), trail=True, grid=(0.0, 0.01, 0.03, 0.1, 0.3, 1.0), turn=10,
    ),
    "because": Signal(
        "cosine to the nearest of the items liked last",
        Largest(BECAUSE, ROLES), roles=tuple(range(BECAUSE, ROLES)), weight=0.3, grid=(0.0, 0.03, 0.1, 0.4), turn=6,
    ),
    "popularity": Signal(  # hardly negative: otherwise items without likes would rank before all others
        "likes on a log scale, 1 for the most liked item of the shards that answered",
        popularity, weight=0.4, grid=(-0.2, -0.05, 0.0, 0.05, 0.2, 0.8), turn=7,
    ),
    "trend": Signal(  # important when a common moment is held out, hardly when each user's last interaction is
        "likes of late, half of the full signal at 10 within a trend half-life",
        trend, weight=0.3, grid=(0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8), turn=8,
    ),
    "recency": Signal(  # no grid: created_at is not the time at which an item arrived
        "1 for an item created now, halving every recency half-life; 0 when its age is not known",
        recency, weight=0.05,
    ),
}  # fmt: skip
"""By name, in the order of the columns of `measure`."""

NO_SIGNALS = np.zeros((0, len(SIGNALS)), np.float32)

DEFAULT = {name: signal.weight for name, signal in SIGNALS.items() if signal.weight}
"""Weights of a scenario without weights."""


def measure(
    candidates: CandidateSet, moment: Moment, wanted: Collection[str] = tuple(SIGNALS)
) -> npt.NDArray[np.float32]:
    """Return (n, len(SIGNALS)) float32 in the order of SIGNALS. Values that are unknown or not `wanted` are 0."""
    table = np.zeros((len(candidates.keys), len(SIGNALS)), np.float32)
    for column, (name, signal) in enumerate(SIGNALS.items()):
        if name in wanted:
            table[:, column] = signal.compute(candidates, moment)
    np.minimum(np.maximum(table, -1.0, out=table), 1.0, out=table)
    table[np.isnan(table)] = 0.0
    return table
