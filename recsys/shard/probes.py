"""What a measurement asks a shard: queries like those of users, drawn from the shard's own items."""

from __future__ import annotations

import numpy as np

from recsys.datatypes import Filter, Floats, Rows
from recsys.shard.candidates import QUERY, ShardQuery
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS, COLUMNS
from recsys.shard.vector_names import distinct

POOL = 1 << 16
"""Rows of a larger shard that are looked at in its place when it is loaded: ten million are not to be read before the
first answer. They lie side by side, and are a sample all the same: a build puts items into the order of hashes."""


def nearest_query(version: str, vectors: Floats, k: int | Rows, given: Filter | None = None) -> ShardQuery:
    """One request for each of the (m, d) unit vectors: its k neighbours that match the filter, nothing excluded.

    `k`: one for all, or (m,) int64.
    """
    m = len(vectors)
    return ShardQuery(
        version=version,
        vectors=vectors,
        vector_request=np.arange(m),
        vector_role=np.full(m, QUERY),
        vector_source=np.full(m, BITS["similar"]),
        vector_k=np.full(m, k),
        trail=np.zeros(0, np.uint64),
        trail_weights=np.zeros(0, np.float32),
        trail_offsets=np.zeros(m + 1, np.int64),
        column_k=np.zeros((m, len(COLUMNS)), np.int64),
        filters=(given,) * m,
        exclude=np.zeros(0, np.uint64),
        exclude_offsets=np.zeros(m + 1, np.int64),
        asked=((),) * m,
        trend_floor=0.0,
        sketches=False,
        grouped=(),
    )


def sample(vectors: Floats, n: int, seed: int = 7) -> Floats:
    """(m, d): at most n of the distinct rows, at random."""
    rows = distinct(vectors)
    return vectors[np.random.default_rng(seed).permutation(rows)[:n]]


def sample_tastes(added: Floats, n: int, seed: int = 7, among: Rows | None = None) -> Floats:
    """(n, d) means of 1 to 5 random rows; `among` these, None: all."""
    rng = np.random.default_rng(seed)
    sizes, rows = rng.integers(1, 6, n), np.arange(len(added)) if among is None else among
    drawn, starts = rows[rng.integers(0, len(rows), sizes.sum())], np.cumsum(sizes) - sizes
    means = np.empty((n, added.shape[1]), added.dtype)
    for size in range(1, 6):
        own = np.flatnonzero(sizes == size)
        means[own] = added[drawn[starts[own, None] + np.arange(size)]].mean(axis=1)
    return means


def sample_queries(vectors: Floats, n: int, seed: int = 7) -> Floats:
    """(n, d) unit vectors between those of items, as searches are: means of 1 to 5 random rows."""
    means = sample_tastes(vectors, n, seed)
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def texts_of(shard: Shard, n: int, seed: int = 7) -> Floats:
    """(n, width) queries for texts between those of random items, see `space.text_query`; (0, width) without items."""
    rows, items = shard.items.live_rows(), shard.items
    queries = np.zeros((n if len(rows) else 0, items.width), np.float32)
    if len(rows):
        rng = np.random.default_rng(seed)
        some = rng.permutation(rows)[: 4 * n] if len(rows) <= POOL else rng.choice(rows, 4 * n)
        queries[:, : items.dimension] = sample_queries(items.vectors(some)[:, : items.dimension], n, seed)
    return queries
