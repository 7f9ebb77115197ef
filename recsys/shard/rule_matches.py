"""What a shard knows of rules: which candidates their filters match, and the matches that pins and promotions need."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from recsys.columns import lengths
from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.shard.candidates import QUERY, TASTE, ShardQuery
from recsys.shard.chosen_rows import matching
from recsys.shard.proposals import Proposals, eligible
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS

_SCORED = 1024
"""Most liked matches among which the nearest to a request's vector are looked for."""


def matches(shard: Shard, query: ShardQuery, rows: Rows) -> npt.NDArray[np.uint8]:
    """(n, ceil(filters / 8)) uint8: bit f, from the lowest, of each row tells whether `rule_filters[f]` matches it."""
    if not query.rule_filters:
        return np.zeros((len(rows), 0), np.uint8)
    masks = shard.lists.masks(query.rule_filters)
    if (bits := matching(masks, rows)) is not None:
        return bits
    return np.packbits(np.stack([mask[rows] for mask in masks], axis=1), axis=1, bitorder="little")


def known(shard: Shard, query: ShardQuery) -> bool:
    """Whether the matches of all rules are there already. What it takes to look for them nobody knows before."""
    filters = query.rule_filters
    return not filters or shard.lists.holds(filters, {filters[number] for _, number, _ in query.rule_wants})


def promoted(shard: Shard, query: ShardQuery, excluded: Keys) -> list[Proposals]:
    """For each of `rule_wants` up to k matches of the rule's filter and of the request's own: half of them the nearest
    to the request's vector, if it has one, the others the most liked.

    Requests that ask for the same matches share the look for them, the reading of their vectors and, where they may
    have all of them, the choice.
    """
    if not query.rule_wants:
        return []
    slack = lengths(query.exclude_offsets).tolist() if len(query.exclude) else [0] * query.size
    vectors = _vectors(query)
    alike: dict[tuple[int, int, int, Filter | None], list[int]] = {}
    for request, number, k in query.rule_wants:
        most = max(k + slack[request], _SCORED)
        alike.setdefault((number, k, most, query.filters[request]), []).append(request)
    shared: dict[tuple[int, int], _Vectors] = {}
    proposals = []
    for (number, k, most, own), wanting in alike.items():
        rule = query.rule_filters[number]
        ranked = shard.lists.ranked("popular", rule, most)
        read = shared.setdefault((number, most), _Vectors(shard, ranked))
        every = _with_all(shard, wanting, ranked, excluded, own)
        every = [request for request in every if request in vectors] if k < len(ranked) <= 2 * _SCORED else []
        if every:
            rows = _rows_of_all(shard, read, ranked, k, [vectors[request] for request in every])
            requests = np.array(every).repeat(k) if len(every) > 1 else np.full(k, every[0])
            proposals.append(_proposed(requests, rows))
        if len(every) == len(wanting):  # nearly always
            continue
        done = set(every)
        keep = eligible(shard, np.array(wanting), ranked[None], excluded, own)
        for request, kept in zip(wanting, np.broadcast_to(keep, (len(wanting), len(ranked))), strict=True):
            if request in done:
                continue
            places = kept.nonzero()[0]
            if len(places) < k and own is not None:  # the request's filter drops most of them
                all_of_rule = shard.lists.ranked("popular", rule)
                rows = all_of_rule[eligible(shard, np.array([request]), all_of_rule[None], excluded, own)[0]]
                chosen = rows[_chosen(_Vectors(shard, rows), np.arange(len(rows)), k, vectors.get(request))]
            else:
                chosen = ranked[_chosen(read, places, k, vectors.get(request))]
            proposals.append(_proposed(np.full(len(chosen), request), chosen))
    return proposals


def _with_all(shard: Shard, requests: Sequence[int], ranked: Rows, excluded: Keys, own: Filter | None) -> Sequence[int]:
    """Those of the requests that may have all of these rows, which are alive."""
    if own is None and not len(excluded):
        return requests
    keep = eligible(shard, np.array(requests), ranked[None], excluded, own)
    # One line stands for all requests where nothing is excluded.
    each: list[bool] = np.logical_and.reduce(keep, axis=1).tolist() * (len(requests) // len(keep))
    return [request for request, all_of_them in zip(requests, each, strict=True) if all_of_them]


def _proposed(requests: Rows, rows: Rows) -> Proposals:
    return Proposals(requests, rows, np.full(len(rows), BITS["promoted"], np.int64))


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


def _rows_of_all(shard: Shard, read: _Vectors, ranked: Rows, k: int, vectors: Sequence[Floats]) -> Rows:
    """(m * k,) rows that are chosen for each of m vectors, where all matches may be taken, which are more than k.

    They follow from the vector and from the matches in their order, as the vectors of rows never change. So who comes
    again gets those of last time.
    """
    matches = k.to_bytes(8, "little") + blake2b(ranked.tobytes(), digest_size=16).digest()
    keys = [matches + vector.tobytes() for vector in vectors]
    chosen = [shard.promoted.take(key) for key in keys]
    lacking = [place for place, rows in enumerate(chosen) if rows is None]
    if lacking:
        places = _chosen_of_all(read, len(ranked), k, np.stack([vectors[place] for place in lacking]))
        for place, rows in zip(lacking, ranked[places], strict=True):
            chosen[place] = own = rows.copy()
            shard.promoted.put(keys[place], own)
    found = [rows for rows in chosen if rows is not None]
    return found[0] if len(found) == 1 else np.concatenate(found)


def _chosen_of_all(vectors: _Vectors, matches: int, k: int, queries: Floats) -> Rows:
    """(m, k): what `_chosen` returns for each of the (m, width) vectors, where all of the matches may be taken, which
    are more than k.
    """
    scored = np.arange(min(matches, _SCORED))
    # As many products of a matrix with a vector as there are vectors: those of two matrices have other last bits.
    products = np.matmul(vectors.at(scored)[None], queries[:, :, None])[:, :, 0]
    nearest = np.argsort(-products, axis=1, kind="stable")[:, : k - k // 2]
    others = np.ones((len(queries), matches), bool)
    others[np.arange(len(queries))[:, None], nearest] = False
    first = others[:, :k]  # at least k // 2 of them are left
    first &= first.cumsum(axis=1) <= k // 2
    return np.concatenate([nearest, first.nonzero()[1].reshape(len(queries), k // 2)], axis=1)


def _vectors(query: ShardQuery) -> dict[int, Floats]:
    """By request what it asks to be like, else the user's taste, (width,); requests without either are left out."""
    queries: dict[int, int] = {}
    tastes: dict[int, int] = {}
    each = zip(query.vector_role.tolist(), query.vector_request.tolist(), strict=True)
    for place, (role, request) in enumerate(each):  # of one role the first counts
        if role == QUERY:
            queries.setdefault(request, place)
        elif role == TASTE:
            tastes.setdefault(request, place)
    return {request: query.vectors[place] for request, place in (tastes | queries).items()}
