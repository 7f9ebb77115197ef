"""The scores of a batch's candidates, where nobody looks at the single signals, by compiled code where it is there.

`blends.c` adds products up in the order in which numpy does it on the processors that this was written on. Whether it
does on this one is tried once; where it does not, or where nothing was compiled, numpy measures and blends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recsys.compiled import compiled
from recsys.datatypes import Floats
from recsys.ranking.selection import blend
from recsys.ranking.signals import SIGNALS, Largest, Likeness, Moment, measure
from recsys.shard.candidates import CandidateSet

Ints = npt.NDArray[np.int64]
Weights = tuple[tuple[str, float], ...]

_NONE, _OTHERS = -1, -2
"""Place of a signal without a weight, and of the first of those that numpy computes."""


class Blends(Protocol):
    """`blends.c`. ValueError where arrays do not fit each other."""

    def blend(
        self, offsets: Ints, likeness: Floats, width: int, others: Floats, other: int, columns: Ints, weights: Floats,
        kinds: Ints, values: Floats, scores: Floats, /,
    ) -> None: ...  # fmt: skip

    def best(
        self, offsets: Ints, values: Floats, signals: int, scores: Floats, sources: Ints,
        enabled: npt.NDArray[np.bool_], facts: Floats, logs: Floats, wanted: Ints, places: Ints, rows: Ints, at: Ints,
        table: Floats, /,
    ) -> int: ...  # fmt: skip


BLENDS: Blends | None = compiled("recsys.ranking.blends")
"""None: numpy does it."""


class Places(NamedTuple):
    """Where compiled code finds signals."""

    columns: Ints
    """(len(SIGNALS), 2) first and end of each signal in `CandidateSet.likeness`, or its place among the others."""
    others: tuple[str, ...]
    """Signals that numpy computes."""

    @classmethod
    def of(cls, wanted: Sequence[str]) -> Places:
        """Those of some of SIGNALS."""
        columns, others = np.full((len(SIGNALS), 2), _NONE), list[str]()
        for place, (name, signal) in enumerate(SIGNALS.items()):
            if name not in wanted:
                continue
            if isinstance(signal.compute, Likeness):
                columns[place] = signal.compute.column, signal.compute.column + 1
            elif isinstance(signal.compute, Largest):
                columns[place] = signal.compute.first, signal.compute.end
            else:
                columns[place] = _OTHERS - len(others)
                others.append(name)
        return cls(columns, tuple(others))


EVERY = Places.of(tuple(SIGNALS))


class Measured:
    """The signals of a batch's candidates, as compiled code takes them. `every`: whether all are going to be looked at,
    and not only those with a weight.
    """

    def __init__(self, candidates: CandidateSet, moment: Moment, *, every: bool = False) -> None:
        self.candidates, self.moment, self.every = candidates, moment, every
        self.values = np.empty((len(candidates.keys) if every else 0, len(SIGNALS)), np.float32)
        """(n, len(SIGNALS)): what `measure` gives, filled by `by_blends`; (0, len(SIGNALS)) without `every`."""

    def arrays(self, places: Places) -> tuple[Ints, Floats, int, Floats, int, Ints]:
        """The first arguments of `blends.c`."""
        likeness = self.candidates.likeness
        others = np.empty((len(likeness), len(places.others)), np.float32)
        for column, name in enumerate(places.others):
            others[:, column] = SIGNALS[name].compute(self.candidates, self.moment)
        return self.candidates.offsets, likeness, likeness.shape[1], others, others.shape[1], places.columns


class _Plan(NamedTuple):
    places: Places
    weights: Floats
    """(kinds, len(SIGNALS)) float32."""


def scores(measured: Measured, weights: Sequence[Mapping[str, float]]) -> Floats:
    """Return (n,) float32: what `blend` makes of the signals that `measure` gives. `weights`: of each request."""
    blends = blends_alike()
    return by_numpy(measured, weights) if blends is None else by_blends(measured, weights, blends)


def by_numpy(measured: Measured, weights: Sequence[Mapping[str, float]]) -> Floats:
    """See `scores`."""
    wanted = set().union(*{id(w): w for w in weights}.values())
    return blend(measure(measured.candidates, measured.moment, wanted), measured.candidates.requests, weights)


def by_blends(measured: Measured, weights: Sequence[Mapping[str, float]], blends: Blends) -> Floats:
    """See `scores`."""
    kinds = {id(w): w for w in weights}  # a batch has few
    plan = _plan(tuple(tuple(w.items()) for w in kinds.values()), every=measured.every)
    own = np.zeros(len(weights), np.int64)
    if len(kinds) > 1:
        places = {kind: place for place, kind in enumerate(kinds)}
        own[:] = [places[id(w)] for w in weights]
    blended = np.empty(len(measured.candidates.keys), np.float32)
    blends.blend(*measured.arrays(plan.places), plan.weights, own, measured.values, blended)
    return blended


@lru_cache(64)  # scenarios have few, and batches mix few of them
def _plan(kinds: tuple[Weights, ...], *, every: bool) -> _Plan:
    given = [dict(kind) for kind in kinds]
    weighed = [name for name in SIGNALS if any(one.get(name) for one in given)]
    table = np.array([[one.get(name, 0.0) for name in SIGNALS] for one in given], np.float32)
    return _Plan(EVERY if every else Places.of(weighed), table)


@lru_cache(1)
def blends_alike() -> Blends | None:
    """Return the compiled code, if it blends to the bit as numpy does here; None: it does not, or is not there."""
    blends = BLENDS
    if blends is None:
        return None
    rng = np.random.default_rng(1)
    values, weights = rng.standard_normal((2, 64, len(SIGNALS)), np.float32)
    values = np.clip(values, -1.0, 1.0)
    ours, place = np.empty(64, np.float32), np.arange(len(SIGNALS))
    columns = np.stack([place, place + 1], axis=1)
    given = (np.arange(65), values, len(SIGNALS), values[:, :0].copy(), 0, columns, weights, np.arange(64))
    expected = np.einsum("ns,ns->n", values, weights)
    for room in (values[:0].copy(), np.empty_like(values)):
        blends.blend(*given, room, ours)
        if not np.array_equal(ours, expected):
            return None
    return blends
