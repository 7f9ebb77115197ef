"""The scores of a batch's candidates, where nobody looks at the single signals, by compiled code where it is there.

`picks.c` adds products up in the order in which numpy does it on the processors that this was written on. Whether it
does on this one is tried once; where it does not, or where nothing was compiled, numpy measures and blends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.ranking.picking import PICKS, Picks
from recsys.ranking.selection import blend
from recsys.ranking.signals import SIGNALS, Likeness, Moment, measure
from recsys.shard.candidates import CandidateSet

Ints = npt.NDArray[np.int64]
Weights = tuple[tuple[str, float], ...]

_NONE, _OTHERS = -1, -2
"""Place of a signal without a weight, and of the first of those that are no column of `CandidateSet.likeness`."""


class _Plan(NamedTuple):
    columns: Ints
    """(len(SIGNALS),) place of each signal."""
    others: tuple[str, ...]
    """Signals that numpy computes."""
    weights: Floats
    """(kinds, len(SIGNALS)) float32."""


def scores(candidates: CandidateSet, moment: Moment, weights: Sequence[Mapping[str, float]]) -> Floats:
    """Return (n,) float32: what `blend` makes of the signals that `measure` gives. `weights`: of each request."""
    picks = blends_alike()
    return by_numpy(candidates, moment, weights) if picks is None else by_picks(candidates, moment, weights, picks)


def by_numpy(candidates: CandidateSet, moment: Moment, weights: Sequence[Mapping[str, float]]) -> Floats:
    """See `scores`."""
    wanted = set().union(*{id(w): w for w in weights}.values())
    return blend(measure(candidates, moment, wanted), candidates.requests, weights)


def by_picks(candidates: CandidateSet, moment: Moment, weights: Sequence[Mapping[str, float]], picks: Picks) -> Floats:
    """See `scores`."""
    kinds = {id(w): w for w in weights}  # a batch has few
    plan = _plan(tuple(tuple(w.items()) for w in kinds.values()))
    own = np.zeros(len(weights), np.int64)
    if len(kinds) > 1:
        places = {kind: place for place, kind in enumerate(kinds)}
        own[:] = [places[id(w)] for w in weights]
    n = len(candidates.keys)
    others = np.empty((n, len(plan.others)), np.float32)
    for column, name in enumerate(plan.others):
        others[:, column] = SIGNALS[name].compute(candidates, moment)
    blended = np.empty(n, np.float32)
    likeness = candidates.likeness
    picks.blend(
        candidates.offsets, likeness, likeness.shape[1], others, len(plan.others), plan.columns, plan.weights, own,
        blended,
    )  # fmt: skip
    return blended


@lru_cache(64)  # scenarios have few, and batches mix few of them
def _plan(kinds: tuple[Weights, ...]) -> _Plan:
    given = [dict(kind) for kind in kinds]
    columns, others = np.full(len(SIGNALS), _NONE), list[str]()
    for place, (name, signal) in enumerate(SIGNALS.items()):
        if not any(one.get(name) for one in given):
            continue
        if isinstance(signal.compute, Likeness):
            columns[place] = signal.compute.column
        else:
            columns[place] = _OTHERS - len(others)
            others.append(name)
    table = np.array([[one.get(name, 0.0) for name in SIGNALS] for one in given], np.float32)
    return _Plan(columns, tuple(others), table)


@lru_cache(1)
def blends_alike() -> Picks | None:
    """Return the compiled code, if it blends to the bit as numpy does here; None: it does not, or is not there."""
    if PICKS is None:
        return None
    rng = np.random.default_rng(1)
    values, weights = rng.standard_normal((2, 64, len(SIGNALS)), np.float32)
    values = np.clip(values, -1.0, 1.0)
    ours, columns = np.empty(64, np.float32), np.arange(len(SIGNALS))
    PICKS.blend(np.arange(65), values, len(SIGNALS), values[:, :0].copy(), 0, columns, weights, np.arange(64), ours)
    return PICKS if np.array_equal(ours, np.einsum("ns,ns->n", values, weights)) else None
