"""What a shard knows of rules: which candidates their filters match, and the matches that pins and promotions need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.shard.candidates import QUERY, TASTE, ShardQuery
from recsys.shard.proposals import Proposals, eligible
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS

_SCORED = 1024
"""Most liked matches among which the nearest to a request's vector are looked for."""


def matches(shard: Shard, query: ShardQuery, rows: Rows) -> npt.NDArray[np.uint8]:
    """(n, ceil(filters / 8)) uint8: bit f, from the lowest, of each row tells whether `rule_filters[f]` matches it."""
    if not query.rule_filters:
        return np.zeros((len(rows), 0), np.uint8)
    columns = [shard.lists.mask(given)[rows] for given in query.rule_filters]
    return np.packbits(np.stack(columns, axis=1), axis=1, bitorder="little")


def promoted(shard: Shard, query: ShardQuery, excluded: Keys) -> list[Proposals]:
    """For each of `rule_wants` up to k matches of the rule's filter and of the request's own: half of them the nearest
    to the request's vector, if it has one, the others the most liked.

    Requests that ask for the same matches share the look for them, and the reading of their vectors.
    """
    if not query.rule_wants:
        return []
    slack, vectors = np.diff(query.exclude_offsets).tolist(), _vectors(query)
    alike: dict[tuple[int, int, Filter | None], list[tuple[int, int]]] = {}
    for request, number, k in query.rule_wants:
        most = max(k + slack[request], _SCORED)
        alike.setdefault((number, most, query.filters[request]), []).append((request, k))
    proposals = []
    for (number, most, own), wanting in alike.items():
        rule, requests = query.rule_filters[number], np.array([request for request, _ in wanting])
        ranked = shard.lists.ranked("popular", rule, most)
        keep = np.empty((len(requests), len(ranked)), bool)
        keep[:] = eligible(shard, requests, ranked[None], excluded, own)
        shared = _Vectors(shard, ranked)
        for (request, k), kept in zip(wanting, keep, strict=True):
            places = kept.nonzero()[0]
            if len(places) < k and own is not None:  # the request's filter drops most of them
                every = shard.lists.ranked("popular", rule)
                rows = every[eligible(shard, np.array([request]), every[None], excluded, own)[0]]
                chosen = rows[_chosen(_Vectors(shard, rows), np.arange(len(rows)), k, vectors.get(request))]
            else:
                chosen = ranked[_chosen(shared, places, k, vectors.get(request))]
            bits = np.full(len(chosen), BITS["promoted"], np.int64)
            proposals.append(Proposals(np.full(len(chosen), request), chosen, bits))
    return proposals


class _Vectors:
    """Vectors of rows, which are read once somebody asks for some of them, where they are not too many."""

    def __init__(self, shard: Shard, rows: Rows) -> None:
        self._shard, self._rows = shard, rows
        self._read: Floats | None = None

    def at(self, places: Rows) -> Floats:
        """(n, width) float32 vectors of the rows at these places, in ascending order."""
        if len(self._rows) > 2 * _SCORED:
            return self._shard.items.vectors(self._rows[places])
        if self._read is None:
            self._read = self._shard.items.vectors(self._rows)
        return self._read if len(places) == len(self._rows) else self._read[places]


def _chosen(vectors: _Vectors, places: Rows, k: int, vector: Floats | None) -> Rows:
    """Up to k of the places, which are those of eligible rows, the most liked first."""
    if len(places) <= k or vector is None:
        return places[:k]
    scored = places[:_SCORED]
    order = np.argsort(-(vectors.at(scored) @ vector), kind="stable")[: k - k // 2]
    others = np.ones(len(places), bool)
    others[order] = False
    return np.concatenate([scored[order], places[others][: k // 2]])


def _vectors(query: ShardQuery) -> dict[int, Floats]:
    """By request what it asks to be like, else the user's taste, (width,); requests without either are left out."""
    found: dict[int, Floats] = {}
    for role in (TASTE, QUERY):  # of one role the first counts
        places = np.flatnonzero(query.vector_role == role)[::-1]
        found |= zip(query.vector_request[places].tolist(), query.vectors[places], strict=True)
    return found
