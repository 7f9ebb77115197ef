"""How far a shard has moved from its snapshot: what a rebuild would put right."""

from __future__ import annotations

import numpy as np

from recsys.shard.recall import recall, texts_of
from recsys.shard.shard import Shard
from recsys.state.membership import Drift

_QUERIES = 16
"""A measurement scores every vector for each: 16 queries over 100,000 vectors of 384 dimensions take 0.1 s."""


def measure(shard: Shard) -> Drift:
    """Compare the shard with its snapshot. Reads every vector once; may run beside searches and the writer."""
    rows = shard.items.stored_rows()
    return Drift(
        log_share=float(np.count_nonzero(rows >= shard.items.snapshot_rows) / max(len(rows), 1)),
        dead_share=(len(shard.items) - len(rows)) / max(len(shard.items), 1),
        recall_at_10=recall([shard], texts_of(shard, _QUERIES)),
    )
