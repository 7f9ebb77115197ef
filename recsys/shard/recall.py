"""How good the served search is, measured against exact search.

Items with equal vectors count as one: a walk that finds a copy of what it should find, and loses another item for it,
has lost that item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.config.scenarios import Source
from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.errors import VersionError
from recsys.index.base import NO_ROW
from recsys.shard.candidates import QUERY, CandidateSet, ShardQuery
from recsys.shard.exact import exact
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS, COLUMNS

CANDIDATES: int = Source.model_fields["k"].default
"""Candidates that a measurement asks a shard for when it wants the k best: a scenario's source asks for as many by
default. An engine of rounded vectors may swap neighbours that are almost equally near. The served path does not show
it, because it orders the candidates by their exact likeness. So this is measured, for every engine.
"""

_INSPECTED = 32
"""Items and queries that a shard is checked with when it is loaded."""
_WRONG_BELOW = 0.8
"""A build is refused under 0.95 of 250 queries; 32 of a good one fall under this less than once in 10,000 loads."""
_WIDE = 512
"""`ef_search` of the walks of that check."""
POOL = 1 << 16
"""Rows of a larger shard that are looked at in its place when it is loaded: ten million are not to be read before the
first answer. They lie side by side, and are a sample all the same: a build puts items into the order of hashes."""
_BLOCK = 1 << 14
"""Rows scored at a time: 25 MB of vectors at 384 dimensions."""
TIE = 1e-6
"""Scores that differ by less, relative to the larger of 1 and the score, are equal: float32 sums differ by order."""


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


def distinct(vectors: Floats) -> Rows:
    """(m,) int64: the first row of each distinct one of (n, d) vectors, in order."""
    return np.sort(np.unique(vector_names(vectors), return_index=True)[1])


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


def neighbours(shards: Sequence[Shard], queries: Floats, k: int) -> list[dict[str, float]]:
    """For each of (m, d) queries the k nearest candidates of all shards, as item id -> exact likeness, best first."""
    merged = served(shards, queries, max(k, CANDIDATES))
    nearest = []
    for start, end in zip(merged.offsets[:-1], merged.offsets[1:], strict=True):
        scores = merged.likeness[start:end, QUERY]
        best = start + np.argsort(-scores, kind="stable")[:k]
        nearest.append({merged.ids[int(r)]: float(merged.likeness[r, QUERY]) for r in best})
    return nearest


@dataclass(frozen=True, slots=True)
class Exact:
    """Exact answers of some shards to m queries, which several walks can be compared with.

    `asked` is (m,) int64: candidates that each query asks for. `wanted` is (m,) int64: distinct vectors among the k
    nearest, fewer where copies fill all that a query asks for. `least` is (m,) float32: the score of the last of them.
    `filter` None: all items count.
    """

    shards: Sequence[Shard]
    queries: Floats
    asked: Rows
    wanted: Rows
    least: Floats
    filter: Filter | None = None

    @classmethod
    def of(
        cls,
        shards: Sequence[Shard],
        queries: Floats,
        k: int = 10,
        given: Filter | None = None,
        *,
        asked: Rows | None = None,
    ) -> Exact:
        """`asked`: (m,) candidates that each query asks for, k or more; None: as many as a scenario's source does."""
        if asked is None:
            asked = np.full(len(queries), max(k, CANDIDATES))
        parts = [_nearest(shard, queries, int(asked.max(initial=k)), given) for shard in shards]
        names = np.hstack([np.zeros((len(queries), 0), np.uint64), *(names for names, _ in parts)])
        scores = np.hstack([np.zeros((len(queries), 0), np.float32), *(scores for _, scores in parts)])
        best = np.argsort(-scores, axis=1, kind="stable")
        names, scores = np.take_along_axis(names, best, 1), np.take_along_axis(scores, best, 1)
        there = (scores > -np.inf) & (np.arange(scores.shape[1]) < asked[:, None])
        first = _first_of_each(names) & there
        counted = first & (np.cumsum(first, axis=1) <= k)
        least = np.where(counted, scores, np.inf).min(axis=1, initial=np.inf)
        return cls(shards, queries, asked, counted.sum(axis=1), least.astype(np.float32), given)

    def recall(self) -> float:
        """Share of the wanted vectors that the served search finds now; 1.0 where none is wanted."""
        wanted = int(self.wanted.sum())
        return int(self.found().sum()) / wanted if wanted else 1.0

    def found(self) -> Rows:
        """(m,) int64: how many of its wanted vectors the served search finds for each query.

        A vector as near as the last wanted one is as good as it.
        """
        if not self.wanted.sum():
            return np.zeros(len(self.queries), np.int64)
        candidates = served(self.shards, self.queries, self.asked, self.filter)
        requests = candidates.requests
        names, scores = of_items(self.shards, candidates, self.queries)
        least = self.least - np.float32(TIE) * np.maximum(np.abs(self.least), 1)
        near = np.flatnonzero(scores >= least[requests])
        order = near[np.lexsort((names[near], requests[near]))]
        other = np.ones(len(order), bool)
        other[1:] = (np.diff(names[order]) != 0) | (np.diff(requests[order]) != 0)
        return np.minimum(self.wanted, np.bincount(requests[order[other]], minlength=len(self.queries)))


def recall(shards: Sequence[Shard], queries: Floats, k: int = 10) -> float:
    """Share of the k exactly nearest distinct vectors that the served search finds; 1.0 for no items or no queries."""
    return Exact.of(shards, queries, k).recall()


def self_lookup(shard: Shard, n: int, seed: int = 7, among: Rows | None = None) -> float:
    """Share of n sampled distinct vectors that a walk of the graph for the vector itself finds; 1.0 for no items.

    A unit vector is its own nearest neighbour. To a vector with a learned part longer vectors may be nearer, so a walk
    that gives nearer ones alone has missed nothing. `among`: (m,) rows that are sampled from; None: all live ones.
    """
    rows = shard.items.live_rows() if among is None else among
    if not len(rows):
        return 1.0
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
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
    for start in range(0, len(rows), _BLOCK):
        scores = queries @ shard.items.vectors(rows[start : start + _BLOCK]).T
        nearer += int(np.count_nonzero(scores > least[:, None]))
    surely = max(nearer - 3 * (nearer**0.5 + 1), 0) * shard.items.live / len(rows)
    return float(k * len(queries) / max(surely, k * len(queries)))


def texts_of(shard: Shard, n: int, seed: int = 7) -> Floats:
    """(n, width) queries for texts between those of random items, see `space.text_query`; (0, width) without items."""
    rows, items = shard.items.live_rows(), shard.items
    queries = np.zeros((n if len(rows) else 0, items.width), np.float32)
    if len(rows):
        rng = np.random.default_rng(seed)
        some = rng.permutation(rows)[: 4 * n] if len(rows) <= POOL else rng.choice(rows, 4 * n)
        queries[:, : items.dimension] = sample_queries(items.vectors(some)[:, : items.dimension], n, seed)
    return queries


def served(shards: Sequence[Shard], queries: Floats, k: int | Rows, given: Filter | None = None) -> CandidateSet:
    """The candidates of (m, d) queries as they are served, k for each, one number or (m,) int64."""
    query = nearest_query(shards[0].version, queries, k, given)
    return CandidateSet.merge([search(shard, query) for shard in shards])


def of_items(shards: Sequence[Shard], candidates: CandidateSet, queries: Floats) -> tuple[Keys, Floats]:
    """(n,) the name of each candidate's vector, see `vector_names`, and its score, both by the vectors that the version
    was built of.
    """
    # Most items are candidates of many queries, and are looked up once.
    _, first, place = np.unique(candidates.keys, return_index=True, return_inverse=True)
    ids, names = candidates.ids.take(first).strings(), np.zeros(len(first), np.uint64)
    scores = candidates.likeness[:, QUERY].copy()
    for shard in shards:
        rows = shard.items.find(ids)
        here = rows != NO_ROW
        names[here] = vector_names(shard.items.truth(rows[here]))
        if shard.items.rounded:
            mine = here[place]
            vectors = shard.items.truth(rows[place[mine]])
            scores[mine] = np.einsum("nd,nd->n", vectors, queries[candidates.requests[mine]])
    return names[place], scores


def vector_names(vectors: Floats) -> Keys:
    """(n,) uint64: a hash of each vector. Two different vectors share one with a probability under 2^-32."""
    factors = np.random.default_rng(0).integers(0, 1 << 64, vectors.shape[1], np.uint64)
    names = np.zeros(len(vectors), np.uint64)
    for start in range(0, len(vectors), _BLOCK):
        part = slice(start, start + _BLOCK)
        bits = (vectors[part] + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0, which it equals
        names[part] = (bits.astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    return names


def _first_of_each(names: Keys) -> npt.NDArray[np.bool_]:
    """(m, w) whether a name is the first like it of its line."""
    order = np.argsort(names, axis=1, kind="stable")
    lined, first = np.take_along_axis(names, order, 1), np.ones(names.shape, bool)
    np.put_along_axis(first, order[:, 1:], lined[:, 1:] != lined[:, :-1], 1)
    return first


def _nearest(shard: Shard, queries: Floats, k: int, given: Filter | None = None) -> tuple[Keys, Floats]:
    """(m, w) names and scores of the nearest live items that match, best first; w < k where there are not k of them."""
    rows = shard.items.live_rows() if given is None else shard.lists.matches(given)
    rows, scores = exact(shard.items, queries, rows, k, _BLOCK, truth=True)
    return vector_names(shard.items.truth(rows.ravel())).reshape(rows.shape), scores
