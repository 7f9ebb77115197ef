"""How good the served search is, measured against exact search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.candidates import COLUMNS, QUERY, SOURCES, CandidateSet, ShardQuery
from recsys.config import Source
from recsys.datatypes import Floats
from recsys.errors import VersionError
from recsys.retrieval import search
from recsys.shard import Shard

CANDIDATES: int = Source.model_fields["k"].default
"""What a shard is asked for when the k best are wanted: as many as a scenario's source asks for unless it says more.
An engine of rounded vectors swaps neighbours that are equally near but for rounding, and the served path does not see
it: of the candidates it keeps the best by their exact likeness. So that is what is measured, for every engine.
"""

_INSPECTED = 32
"""Items and queries that a shard is tried with when it is loaded."""
_WRONG_BELOW = 0.8
"""A build is refused under 0.95 of 500 queries; 32 of a good one fall under this less than once in 10,000 loads."""
_WIDE = 512
"""ef of those walks."""
_BLOCK = 1 << 14
"""Rows scored at a time: 25 MB of vectors at 384 dimensions."""


def nearest_query(version: str, vectors: Floats, k: int) -> ShardQuery:
    """One request for each of the (m, d) unit vectors: its k neighbours, no filter, nothing excluded."""
    m = len(vectors)
    return ShardQuery(
        version=version,
        vectors=vectors,
        vector_request=np.arange(m),
        vector_role=np.full(m, QUERY),
        vector_source=np.full(m, SOURCES["similar"]),
        vector_k=np.full(m, k),
        trail=np.zeros(0, np.uint64),
        trail_weights=np.zeros(0, np.float32),
        trail_offsets=np.zeros(m + 1, np.int64),
        column_k=np.zeros((m, len(COLUMNS)), np.int64),
        filters=(None,) * m,
        exclude=np.zeros(0, np.uint64),
        exclude_offsets=np.zeros(m + 1, np.int64),
        asked=((),) * m,
        trend_floor=0.0,
        sketches=False,
        grouped=(),
    )


def sample_tastes(added: Floats, n: int, seed: int = 7) -> Floats:
    """(n, d) means of 1 to 5 random rows."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, n)
    return np.stack([added[rng.integers(0, len(added), size)].mean(axis=0) for size in sizes])


def sample_queries(vectors: Floats, n: int, seed: int = 7) -> Floats:
    """(n, d) unit vectors like those that users have: means of 1 to 5 random items."""
    means = sample_tastes(vectors, n, seed)
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def neighbours(shards: Sequence[Shard], queries: Floats, k: int) -> list[dict[str, float]]:
    """What the served path returns: candidates of every shard, merged; of them the k nearest, by exact likeness."""
    asked = nearest_query(shards[0].version, queries, max(k, CANDIDATES))
    merged = CandidateSet.merge([search(shard, asked) for shard in shards])
    found = []
    for start, end in zip(merged.offsets[:-1], merged.offsets[1:], strict=True):
        scores = merged.likeness[start:end, QUERY]
        best = start + np.argsort(-scores, kind="stable")[:k]
        found.append({merged.ids[int(r)]: float(merged.likeness[r, QUERY]) for r in best})
    return found


def recall(shards: Sequence[Shard], queries: Floats, k: int = 10) -> float:
    """Share of the k exactly nearest live items that the served search finds; 1.0 for no items or no queries."""
    k = min(k, sum(shard.items.live for shard in shards))
    if not k or not len(queries):
        return 1.0
    nearest = np.hstack([_exact_scores(shard, queries, k) for shard in shards])
    last = np.sort(nearest, axis=1)[:, -k]
    # Items as near as the k-th are as good as it.
    found = neighbours(shards, queries, k)
    hits = sum(
        min(k, sum(score >= least - 1e-6 for score in got.values())) for least, got in zip(last, found, strict=True)
    )
    return hits / (k * len(queries))


def self_lookup(shard: Shard, n: int) -> float:
    """Share of n sampled live items that a graph walk for their own vector finds; 1.0 for no items."""
    rows = shard.items.live_rows()
    if not len(rows):
        return 1.0
    picked = rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(np.int64)]
    vectors = shard.items.vectors(picked)
    found, _ = shard.index.search(vectors, min(10, len(rows)))
    # By exact scores: where many items share a text, any of them is as good.
    nearest = [(shard.items.vectors(f[f >= 0]) @ v).max(initial=-1.0) for f, v in zip(found, vectors, strict=True)]
    return float((np.array(nearest) >= (vectors * vectors).sum(axis=1) - 1e-4).mean())


def inspect(shard: Shard, items: int) -> None:
    """Whether a shard that was just read is what its manifest says.

    Raises VersionError when items or vectors are missing, or the index finds other vectors than the shard holds:
    checksums tell what changed on the way, this tells what was wrong from the start.
    """
    if not shard.items.live == len(shard.index) == items:
        raise VersionError(
            f"version {shard.version}: the manifest says {items} items, {shard.items.live} and an index of "
            f"{len(shard.index)} were read; build again, or `recsys rollback`"
        )
    rows = shard.items.live_rows()
    some = shard.items.vectors(rows[:: max(1, len(rows) // _INSPECTED)][:_INSPECTED])
    tuning = shard.tuning
    # Whether the index fits, not how near a request's short walk comes: that is measured while it serves.
    shard.tune(tuning.model_copy(update={"ef_search": max(tuning.ef_search, _WIDE)}))
    try:
        shares = {
            "self-lookup": self_lookup(shard, _INSPECTED),
            "recall@10": recall([shard], sample_queries(some, _INSPECTED)) if items else 1.0,
        }
    finally:
        shard.tune(tuning)
    for name, share in shares.items():
        if share < _WRONG_BELOW:
            raise VersionError(
                f"version {shard.version}: {name} is {share:.2f} right after loading, so its index does not fit its "
                "vectors; build again, or `recsys rollback`"
            )


def _exact_scores(shard: Shard, queries: Floats, k: int) -> Floats:
    """(m, k) scores of the nearest live items, in no order, -inf where there are fewer; block by block."""
    rows = shard.items.live_rows()
    kept = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(rows), _BLOCK):
        scores = np.hstack([kept, queries @ shard.items.vectors(rows[start : start + _BLOCK]).T])
        kept = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    return kept
