"""How good the served search is, measured against exact search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.candidates import COLUMNS, QUERY, SOURCES, CandidateSet, ShardQuery
from recsys.config import Source
from recsys.datatypes import Floats, StringColumn
from recsys.retrieval import search
from recsys.shard import Shard

CANDIDATES: int = Source.model_fields["k"].default
"""What a shard is asked for when the k best are wanted: as many as a scenario's source asks for unless it says more.
An engine of rounded vectors swaps neighbours that are equally near but for rounding, and the served path does not see
it: of the candidates it keeps the best by their exact likeness. So that is what is measured, for every engine.
"""


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


def neighbours(shards: Sequence[Shard], queries: Floats, k: int) -> list[set[str]]:
    """What the served path returns: candidates of every shard, merged; of them the k nearest by exact likeness."""
    asked = nearest_query(shards[0].version, queries, max(k, CANDIDATES))
    merged = CandidateSet.merge([search(shard, asked) for shard in shards])
    found = []
    for start, end in zip(merged.offsets[:-1], merged.offsets[1:], strict=True):
        best = start + np.argsort(-merged.likeness[start:end, QUERY], kind="stable")[:k]
        found.append(set(_names(merged.ids, best)))
    return found


def recall(shards: Sequence[Shard], queries: Floats, k: int = 10) -> float:
    """Share of the k exactly nearest live items that the served search finds; 1.0 for no items or no queries."""
    names = [name for shard in shards for name in _names(shard.items.ids.column, shard.items.live_rows())]
    if not names or not len(queries):
        return 1.0
    exact = np.hstack([queries @ shard.items.vectors(shard.items.live_rows()).T for shard in shards])
    k = min(k, len(names))
    found = neighbours(shards, queries, k)
    hits = 0
    for scores, got in zip(exact, found, strict=True):
        # Items as near as the k-th are as good as it.
        good = np.flatnonzero(scores >= np.partition(scores, -k)[-k] - 1e-6)
        hits += min(k, len({names[i] for i in good} & got))
    return hits / (k * len(queries))


def _names(column: StringColumn, rows: np.ndarray) -> list[str]:
    return [column[int(r)] for r in rows]
