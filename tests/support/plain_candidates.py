"""Candidates that are all alike, but for what a test gives."""

from __future__ import annotations

import numpy as np

from recsys.columns import StringColumn
from recsys.shard.candidates import CandidateSet
from recsys.shard.trail_measures import LIKENESS


def candidates(
    sizes: list[int], *, likeness=None, columns=None, sketches=None, groups=None, twins=None, top_count=10.0
) -> CandidateSet:
    n = sum(sizes)
    return CandidateSet(
        offsets=np.cumsum([0, *sizes]),
        keys=np.arange(n, dtype=np.uint64),
        sources=np.ones(n, np.int64),
        likeness=np.full((n, LIKENESS), np.nan, np.float32) if likeness is None else likeness,
        columns=np.full((n, 3), np.nan) if columns is None else columns,
        ids=StringColumn.of([f"i{i}" for i in range(n)]),
        titles=StringColumn.of([""] * n),
        sketches=np.zeros((n, 0), np.int8) if sketches is None else sketches,
        groups=np.zeros((n, 0), np.uint64) if groups is None else groups,
        twins=np.zeros(n, np.uint64) if twins is None else twins,
        matches=np.zeros((n, 0), np.uint8),
        top_count=top_count,
    )
