"""What a shard knows of rules: which candidates their filters match, and the matches that pins and promotions need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Keys, Rows
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
    """
    if not query.rule_wants:
        return []
    slack = np.diff(query.exclude_offsets)
    proposals = []
    for request, number, k in query.rule_wants:
        rows = _eligible(shard, query, request, number, k, int(slack[request]), excluded)
        chosen = rows[:k]
        if len(rows) > k and (vector := _vector(query, request)) is not None:
            scored = rows[:_SCORED]
            near = scored[np.argsort(-(shard.items.vectors(scored) @ vector), kind="stable")[: k - k // 2]]
            chosen = np.concatenate([near, rows[~np.isin(rows, near)][: k // 2]])
        proposals.append(
            Proposals(np.full(len(chosen), request), chosen, np.full(len(chosen), BITS["promoted"], np.int64))
        )
    return proposals


def _eligible(shard: Shard, query: ShardQuery, request: int, number: int, k: int, slack: int, excluded: Keys) -> Rows:
    """Matches of both filters that the request does not exclude, the most liked first: at least k, if there are so
    many. `slack`: how many items the request excludes.
    """
    rule, own, requests = query.rule_filters[number], query.filters[request], np.array([request])
    ranked = shard.lists.ranked("popular", rule, max(k + slack, _SCORED))
    rows = ranked[eligible(shard, requests, ranked[None], excluded, own)[0]]
    if len(rows) < k and own is not None:  # the request's filter drops most of them
        ranked = shard.lists.ranked("popular", rule)
        rows = ranked[eligible(shard, requests, ranked[None], excluded, own)[0]]
    return rows


def _vector(query: ShardQuery, request: int) -> npt.NDArray[np.float32] | None:
    """(width,) what the request asks to be like, else the user's taste."""
    mine = query.vector_request == request
    for role in (QUERY, TASTE):
        if len(places := np.flatnonzero(mine & (query.vector_role == role))):
            vector: npt.NDArray[np.float32] = query.vectors[places[0]]
            return vector
    return None
