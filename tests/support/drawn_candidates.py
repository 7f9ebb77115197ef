"""Candidates drawn at random, as shards would answer with them."""

from __future__ import annotations

import numpy as np

from recsys.columns import StringColumn
from recsys.ranking.picking import NAMED
from recsys.ranking.signals import Moment
from recsys.shard.candidates import NUMBERS, CandidateSet
from recsys.shard.trail_measures import LIKENESS

MOMENT = Moment(1_760_000_000.0, 86_400.0, 86_400.0 * 30)
MASKS = [bits for bits, names in enumerate(NAMED) if names]


def candidates_of(rng: np.random.Generator, sizes: list[int], *, some_rows: bool, twins: bool) -> CandidateSet:
    n = sum(sizes)
    offsets = np.array([0, *sizes], np.int64).cumsum()
    likeness = rng.standard_normal((n, LIKENESS)).astype(np.float32).round(1)
    likeness[rng.random((n, LIKENESS)) < 0.4] = np.nan
    ids = StringColumn.of([f"id-{i}-{'ü€' * (i % 3)}" for i in range(n)])
    titles = StringColumn.of([f"The {i}th title 🎬" if i % 4 else "" for i in range(n)])
    if some_rows:
        order = rng.permutation(n)
        ids, titles = ids.at(order), titles.at(order)
    return CandidateSet(
        offsets=offsets,
        keys=np.arange(n, dtype=np.uint64),
        sources=rng.choice(MASKS, n).astype(np.int64),
        likeness=likeness,
        columns=np.zeros((n, NUMBERS)),
        ids=ids,
        titles=titles,
        sketches=np.zeros((n, 0), np.int8),
        groups=np.zeros((n, 0), np.uint64),
        twins=rng.integers(0, 6 if twins else 2**47, n).astype(np.uint64),
        matches=np.zeros((n, 0), np.uint8),
        top_count=1.0,
    )


def varied(rng: np.random.Generator, sizes: list[int]) -> CandidateSet:
    """Candidates some of whose numbers are unknown, without end, or out of the range of a signal."""
    candidates = candidates_of(rng, sizes, some_rows=False, twins=False)
    n = len(candidates.keys)
    candidates.columns[:, 0] = rng.integers(0, 50, n)
    candidates.columns[:, 1] = rng.choice([-np.inf, MOMENT.now / MOMENT.trend_half_life_s + 3.0, 0.0], n)
    candidates.columns[:, 2] = rng.choice([np.nan, MOMENT.now - 1e6, MOMENT.now + 5.0], n)
    some = rng.random(candidates.likeness.shape) < 0.2
    candidates.likeness[some] = rng.choice(np.array([-0.0, 7.0, -3.0, np.inf], np.float32), int(some.sum()))
    return candidates
