"""How good the served search is, measured against exact search.

Items with equal vectors count as one: a walk that finds a copy of what it should find, and loses another item for it,
has lost that item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config.scenarios import Source
from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.index.base import NO_ROW
from recsys.shard.candidates import QUERY, CandidateSet
from recsys.shard.exact import exact
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.vector_names import BLOCK, first_of_each, vector_names

CANDIDATES: int = Source.model_fields["k"].default
"""Candidates that a measurement asks a shard for when it wants the k best: a scenario's source asks for as many by
default. An engine of rounded vectors may swap neighbours that are almost equally near. The served path does not show
it, because it orders the candidates by their exact likeness. So this is measured, for every engine.
"""

TIE = 1e-6
"""Scores that differ by less, relative to the larger of 1 and the score, are equal: float32 sums differ by order."""


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
        rest: Callable[[], None] | None = None,
    ) -> Exact:
        """`asked`: (m,) candidates that each query asks for, k or more; None: as many as a scenario's source does.
        `rest`: called between two steps of the work, see `pace.py`.
        """
        if asked is None:
            asked = np.full(len(queries), max(k, CANDIDATES))
        parts = [_nearest(shard, queries, int(asked.max(initial=k)), given, rest) for shard in shards]
        names = np.hstack([np.zeros((len(queries), 0), np.uint64), *(names for names, _ in parts)])
        scores = np.hstack([np.zeros((len(queries), 0), np.float32), *(scores for _, scores in parts)])
        best = np.argsort(-scores, axis=1, kind="stable")
        names, scores = np.take_along_axis(names, best, 1), np.take_along_axis(scores, best, 1)
        there = (scores > -np.inf) & (np.arange(scores.shape[1]) < asked[:, None])
        first = first_of_each(names) & there
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


def served(shards: Sequence[Shard], queries: Floats, k: int | Rows, given: Filter | None = None) -> CandidateSet:
    """The candidates of (m, d) queries as they are served, k for each, one number or (m,) int64."""
    query = nearest_query(shards[0].version, queries, k, given)
    return CandidateSet.merge([search(shard, query) for shard in shards])


def of_items(shards: Sequence[Shard], candidates: CandidateSet, queries: Floats) -> tuple[Keys, Floats]:
    """(n,) the name of each candidate's vector, see `vector_names`, and its score, both by the vectors that the version
    was built of.
    """
    # Most items are candidates of many queries, and are looked up once.
    keys, first, place = np.unique(candidates.keys, return_index=True, return_inverse=True)
    ids, names = candidates.ids.take(first).strings(), np.zeros(len(first), np.uint64)
    scores = candidates.likeness[:, QUERY].copy()
    for shard in shards:
        rows = shard.items.find(ids, keys)
        here = rows != NO_ROW
        names[here] = vector_names(shard.items.truth(rows[here]))
        if shard.items.rounded:
            mine = here[place]
            vectors = shard.items.truth(rows[place[mine]])
            scores[mine] = np.einsum("nd,nd->n", vectors, queries[candidates.requests[mine]])
    return names[place], scores


def _nearest(
    shard: Shard, queries: Floats, k: int, given: Filter | None, rest: Callable[[], None] | None
) -> tuple[Keys, Floats]:
    """(m, w) names and scores of the nearest live items that match, best first; w < k where there are not k of them."""
    rows = shard.items.live_rows() if given is None else shard.lists.matches(given)
    rows, scores = exact(shard.items, queries, rows, k, BLOCK, truth=True, rest=rest)
    return vector_names(shard.items.truth(rows.ravel())).reshape(rows.shape), scores
