"""Whether a shard that was just read is what its manifest says: its items are there, and its index finds them."""

from __future__ import annotations

import numpy as np

from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.shard.candidates import QUERY
from recsys.shard.probes import POOL, texts_of
from recsys.shard.recall import CANDIDATES, TIE, recall, served
from recsys.shard.shard import Shard
from recsys.shard.vector_names import BLOCK, vector_names

_INSPECTED = 32
"""Items and queries that a shard is checked with when it is loaded."""
_WRONG_BELOW = 0.8
"""A build is refused under 0.95 of 250 queries; 32 of a good one fall under this less than once in 10,000 loads."""
_WIDE = 512
"""`ef_search` of the walks of that check."""


def inspect(shard: Shard, items: int) -> None:
    """Check that a shard which was just read is what its manifest says.

    Raises VersionError when items or vectors are missing, or the index finds other vectors than the shard holds.
    Checksums show what changed on the way; this shows what was wrong from the start. While the server of an index is
    away nothing is asked of it: the shard serves without it.
    """
    if not shard.items.live == len(shard.index) == items:
        raise VersionError(
            f"version {shard.version}: the manifest says {items} items, {shard.items.live} and an index of "
            f"{len(shard.index)} were read; build again, or `recsys rollback`"
        )
    queries, rows = texts_of(shard, _INSPECTED), shard.items.live_rows()
    whole = len(rows) <= POOL
    some = rows if whole else rows[:POOL]
    tuning = shard.tuning
    # A wide walk, for this checks whether the index fits. How much a request's walk finds is measured while it serves.
    shard.tune(tuning.model_copy(update={"ef_search": max(tuning.ef_search, _WIDE)}))
    try:
        shares = {
            "self-lookup": self_lookup(shard, _INSPECTED, among=some),
            "recall@10": recall([shard], queries) if whole else _recall_among(shard, queries, some),
        }
    finally:
        shard.tune(tuning)
    for name, share in shares.items():
        if share < _WRONG_BELOW and not shard.index.away:
            raise VersionError(
                f"version {shard.version}: {name} is {share:.2f} right after loading, so its index does not fit its "
                "vectors; build again, or `recsys rollback`"
            )


def self_lookup(shard: Shard, n: int, seed: int = 7, among: Rows | None = None) -> float:
    """Share of n sampled distinct vectors that a walk of the graph for the vector itself finds; 1.0 for no items.

    A unit vector is its own nearest neighbour. To a vector with a learned part longer vectors may be nearer, so a walk
    that gives nearer ones alone has missed nothing. `among`: (m,) rows that are sampled from; None: all live ones.
    """
    rows = shard.items.live_rows() if among is None else among
    if not len(rows):
        return 1.0
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    names = np.concatenate([vector_names(shard.items.truth(block)) for block in blocks])
    picked = np.random.default_rng(seed).permutation(rows[np.unique(names, return_index=True)[1]])[:n]
    vectors = shard.items.truth(picked)
    names, wide = vector_names(vectors), min(CANDIDATES, shard.items.live)
    walked, _ = shard.index.search(vectors, wide)
    present = walked >= 0
    nearest = shard.items.truth(np.maximum(walked, 0).ravel())
    found = ((vector_names(nearest).reshape(walked.shape) == names[:, None]) & present).any(axis=1)
    scores = np.einsum("mwd,md->mw", nearest.reshape(*walked.shape, -1), vectors)
    worst = np.where(present, scores, -np.inf).min(axis=1, initial=np.inf)
    nearer = worst > np.einsum("md,md->m", vectors, vectors)
    counted = found | ~nearer
    return float(found[counted].mean()) if counted.any() else 1.0


def _recall_among(shard: Shard, queries: Floats, rows: Rows, k: int = 10) -> float:
    """A bound that the recall@k of the served search is nearly certainly not under, by scoring only these (n,) of the
    shard's rows: how many items are nearer than the k-th that was found follows from how many of these are.
    """
    merged = served([shard], queries, max(k, CANDIDATES))
    lines = zip(merged.offsets[:-1], merged.offsets[1:], strict=True)
    found = [np.sort(merged.likeness[start:end, QUERY])[-k:] for start, end in lines]
    if min(map(len, found)) < k:
        return 0.0
    least = np.array([scores[0] + TIE * max(abs(scores[0]), 1) for scores in found], np.float32)
    nearer = 0
    for start in range(0, len(rows), BLOCK):
        scores = queries @ shard.items.vectors(rows[start : start + BLOCK]).T
        nearer += int(np.count_nonzero(scores > least[:, None]))
    surely = max(nearer - 3 * (nearer**0.5 + 1), 0) * shard.items.live / len(rows)
    return float(k * len(queries) / max(surely, k * len(queries)))
