"""How the matches of a filter that are nearest to a query are found: the plans, what each costs, and which is cheapest.

| plan | what is done | its time grows with |
| --- | --- | --- |
| `exact` | every match is scored | the matches |
| `post_filter` | the graph is walked for more rows than are wanted, and those that match are kept | the rows |
| `allow_list` | the graph is walked over all rows, and keeps those that match on the way | the rows, half of those |

A walk can have an allow-list where the engine tells matches by itself, as `hnsw_int8` does. It does not say whether it
passed what is nearer. So it is for matches that lie around the query as densely as everywhere, and its answer is
checked, see `match_depth.py`. Without a filter there is nothing to choose: the graph is walked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PLANS = {"post_filter": 1, "exact": 2, "allow_list": 4}
"""Plan -> its bit. Searches of one request may go by several."""

_WIDE, _MIDDLE = 0.2, 0.02
SHAPES = ("none", "wide", "middle", "narrow")
"""Kinds of filters by the share of items that match: no filter; a fifth or more; a fiftieth or more; less."""


def shape(matching: int, live: int) -> str:
    """Of a filter that so many of the live items match."""
    share = matching / max(live, 1)
    return "wide" if share >= _WIDE else "middle" if share >= _MIDDLE else "narrow"


def named(bits: int) -> tuple[str, ...]:
    """The plans of these bits."""
    return tuple(plan for plan, bit in PLANS.items() if bits & bit)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that a thread of this machine takes, for vectors of this width and this engine.

    Measured when a version is loaded, see `plan_costs.py`.
    """

    call: float
    """Exact scoring, however few the rows."""
    row: float
    """Reading one row's vector."""
    product: float
    """Scoring one row for one query, and choosing among the scores."""
    walk: float
    """A walk that keeps `ef` candidates takes walk * ef ** power."""
    power: float
    listed: float = 1.0
    """A walk with an allow-list takes this part of one that keeps as many candidates."""
    check: float = 0.0
    """Of its answer, against the sample."""

    @classmethod
    def usual(cls, width: int) -> Self:
        """For vectors of `width` dimensions, before anything is measured: of one core of a cloud machine."""
        return cls(call=30e-6, row=10e-9 + width * 0.15e-9, product=4e-9 + width * 0.05e-9,
                   walk=(1 + width / 200) * 1e-6, power=0.95, listed=0.6, check=80e-6)  # fmt: skip

    def exact(self, rows: int, queries: int) -> float:
        """Of scoring the same rows for so many queries."""
        return self.call + rows * (self.row + queries * self.product)

    def walks(self, ef: Floats64) -> Floats64:
        """Of walks that keep so many candidates; infinite for infinitely many."""
        finite = np.isfinite(ef)
        return np.where(finite, self.walk * np.where(finite, ef, 1.0) ** self.power, np.inf)

    def listed_walks(self, ef: Floats64) -> Floats64:
        """The same with an allow-list."""
        return self.check + self.listed * self.walks(ef)


class Planner:
    """Chooses by the costs. Tests and measurements make it choose otherwise."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def walks(self, depths: Floats64, listed: Floats64 | None, least_ef: int) -> tuple[Floats64, Bools]:
        """(m,) seconds of the cheaper walk of each query, infinite where there is none; and whether that is the walk
        with an allow-list.

        (m,) `depths` and `listed` as `match_depth.Estimate` has them.
        """
        plain = self.costs.walks(np.maximum(depths, least_ef))
        if listed is None:
            return plain, np.zeros(len(depths), bool)
        kept = self.costs.listed_walks(np.maximum(listed, least_ef))
        by_list = kept < plain
        return np.where(by_list, kept, plain), by_list

    def walking(self, walks: Floats64, matching: int, spent: Floats64) -> Bools:
        """(m,) bool: which of m queries under one filter walk, where that takes `walks` seconds. For the others the
        matches are scored, in one call; so they are where that is infinite.

        `spent`: (m,) seconds of walks that found too few. With them no query walks for longer than scoring its matches
        takes, so that in the end it takes at most twice as long.
        """
        walks = spent + walks
        walking = walks < self.costs.exact(matching, len(walks)) / len(walks)
        scored = ~walking
        # What scoring costs a query was counted with all of them. The fewer share it, the more it costs each.
        if self.costs.exact(matching, int(np.count_nonzero(scored))) > walks[scored].sum():
            walking[:] = True
        return walking


def in_steps(depths: Floats64, walking: Bools) -> Iterator[Bools]:
    """Yield (m,) bool masks, which part those that walk into such whose depths differ by less than a half: one call can
    walk for them.
    """
    if np.count_nonzero(walking) == 1:
        yield walking
        return
    steps = np.full(len(depths), -1)
    steps[walking] = np.floor(np.log(np.maximum(depths[walking], 1.0)) / math.log(1.5))
    for step in np.unique(steps[walking]).tolist():
        yield steps == step
