"""How far a shard has moved from its snapshot: what a rebuild would put right."""

from __future__ import annotations

import numpy as np

from recsys.shard.probes import POOL, texts_of
from recsys.shard.recall import CANDIDATES, recall
from recsys.shard.sampled_recall import sampled_rows, shares
from recsys.shard.shard import Shard
from recsys.state.membership import Drift

_QUERIES = 16
"""A measurement scores every vector for each: 16 queries over 100,000 vectors of 384 dimensions take 0.1 s."""
_MOST_QUERIES = 1024
"""A larger shard is measured by more queries over a sample of rows: with as many rows fewer in a sample, so many times
more queries show the same number of misses. Above 64 * `POOL` rows the estimate gets less sure."""
_TOGETHER = 64
"""Queries that are answered at a time."""


def measure(shard: Shard) -> Drift:
    """Compare the shard with its snapshot. Reads `POOL` vectors at the most, and those that its searches find; may run
    beside searches and the writer.
    """
    rows = shard.items.stored_rows()
    return Drift(
        log_share=float(np.count_nonzero(rows >= shard.items.snapshot_rows) / max(len(rows), 1)),
        dead_share=(len(shard.items) - len(rows)) / max(len(shard.items), 1),
        recall_at_10=_recall(shard),
    )


def _recall(shard: Shard, k: int = 10) -> float:
    rows = shard.items.live_rows()
    if len(rows) <= POOL:
        return recall([shard], texts_of(shard, _QUERIES), k)
    some = sampled_rows(rows, POOL, seed=len(shard.items))
    queries = texts_of(shard, min(_QUERIES * len(rows) // POOL, _MOST_QUERIES))
    asked = np.full(len(queries), CANDIDATES)
    parts = [slice(start, start + _TOGETHER) for start in range(0, len(queries), _TOGETHER)]
    return float(
        max(np.concatenate([shares(shard, queries[part], some, k, asked[part]) for part in parts]).mean(), 0.0)
    )
