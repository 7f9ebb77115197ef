"""A shard's answer to a batch: candidates of all sources, each item once a request, with what ranking needs of them."""

from __future__ import annotations

import numpy as np

from recsys.datatypes import KEY_BITS, Filter, Floats, Keys, Rows
from recsys.shard.candidates import SHUNNED, CandidateSet, Searched, ShardQuery, firsts, tag
from recsys.shard.neighbours import nearest
from recsys.shard.proposals import Ints, Proposals, eligible
from recsys.shard.rule_matches import matches, promoted
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS, COLUMNS, SOURCES
from recsys.shard.trail_measures import LIKENESS, Trails, measure

_COLUMN_BITS = np.array([BITS[column] for column in COLUMNS])


def search(shard: Shard, query: ShardQuery) -> CandidateSet:
    """The candidates of every request of the batch, each item once a request, with all that ranking needs of them."""
    if query.now is not None:
        shard.items.set_clock(query.now)
    excluded = tag(np.repeat(np.arange(query.size), np.diff(query.exclude_offsets)), query.exclude)
    near = nearest(shard, query, excluded)
    proposals = [*near.proposals, *_columns(shard, query, excluded), *_asked(shard, query)]
    return _assemble(shard, query, [*proposals, *promoted(shard, query, excluded)], near.searched)


def _columns(shard: Shard, query: ShardQuery, excluded: Keys) -> list[Proposals]:
    """The best rows of each column that a request wants, the columns side by side: what is excluded is looked up once
    for all of them.
    """
    slack = np.diff(query.exclude_offsets)
    groups: dict[Filter | None, list[int]] = {}
    for b in np.flatnonzero(query.column_k.any(axis=1)).tolist():
        groups.setdefault(query.filters[b], []).append(b)
    proposals = []
    for given, members in groups.items():
        requests = np.array(members)
        k = query.column_k[requests]
        most = np.where(k > 0, k + slack[requests, None], 0).max(axis=0).tolist()
        lists = [_ranked(shard, query, column, given, m) for column, m in zip(COLUMNS, most, strict=True)]
        rows = np.concatenate(lists)
        keep = np.empty((len(requests), len(rows)), bool)
        keep[:] = eligible(shard, requests, rows[None], excluded, None)
        start = 0
        for c, ranked in enumerate(lists):
            column = keep[:, start : start + len(ranked)]
            column &= column.cumsum(axis=1) <= k[:, c, None]
            start += len(ranked)
        line, at = keep.nonzero()
        bits = np.repeat(_COLUMN_BITS, [len(ranked) for ranked in lists])
        proposals.append(Proposals(requests[line], rows[at], bits[at]))
    return proposals


def _ranked(shard: Shard, query: ShardQuery, column: str, given: Filter | None, most: int) -> Rows:
    """Up to `most` rows that match, best of the column first."""
    if not most:
        return np.zeros(0, np.int64)
    ranked, source = shard.lists.ranked(column, given, most)[:most], SOURCES[column]
    if source.fading and source.values is not None:
        ranked = ranked[source.values(shard.items, ranked) >= query.trend_floor]
    return ranked


def _asked(shard: Shard, query: ShardQuery) -> list[Proposals]:
    proposals = []
    for b, ids in enumerate(query.asked):
        if ids:
            rows = shard.items.rows(ids)
            rows = rows[shard.items.alive.view[rows]]
            proposals.append(Proposals(np.full(len(rows), b), rows, np.full(len(rows), BITS["asked"])))
    return proposals


def _assemble(
    shard: Shard, query: ShardQuery, proposals: list[Proposals], searched: dict[int, Searched]
) -> CandidateSet:
    items = shard.items
    none = np.zeros(0, np.int64)
    rows = np.concatenate([none, *(p.rows for p in proposals)])
    bits = np.concatenate([none, *(p.bits for p in proposals)])
    tagged = tag(np.concatenate([none, *(p.requests for p in proposals)]), items.keys.view[rows])
    order = np.argsort(tagged, kind="stable")
    ordered, tags = rows[order], tagged[order]
    new = np.ones(len(rows), bool)
    new[1:] = tags[1:] != tags[:-1]
    # Two items may share a key, and an item may have changed its row meanwhile.
    if np.count_nonzero(~new[1:] & (ordered[1:] != ordered[:-1])):
        order = np.lexsort((rows, tagged))
        ordered, tags = rows[order], tagged[order]
        new = firsts(tags, ordered, items.ids.column)
    first = np.flatnonzero(new)
    sources = np.bitwise_or.reduceat(bits[order], first) if len(first) else none
    rows = ordered[first]
    starts = np.arange(query.size + 1, dtype=np.uint64) << np.uint64(KEY_BITS)
    offsets = np.searchsorted(tags[first], starts)
    created = items.created_at.view[rows]
    return CandidateSet(
        offsets=offsets,
        keys=items.keys.view[rows],
        sources=sources,
        likeness=_likeness(shard, query, rows, offsets),
        columns=np.stack([items.counts.view[rows], items.trends.view[rows], created], axis=1),
        ids=items.ids.take(rows),
        titles=items.titles.take(rows),
        sketches=items.sketches.view[rows] if query.sketches else np.zeros((len(rows), 0), np.int8),
        groups=items.attributes.groups(query.grouped, rows),
        twins=items.twins.keys.view[rows],
        matches=matches(shard, query, rows),
        top_count=shard.top_count,
        searched=searched,
        away=bool(shard.index.away),
    )


def _likeness(shard: Shard, query: ShardQuery, rows: Rows, offsets: Ints) -> Floats:
    """(n, LIKENESS) of each candidate: inner products with its own request's vectors, and what its trail tells."""
    likeness = np.full((len(rows), LIKENESS), np.nan, np.float32)
    vectors = shard.items.vectors(rows)
    for j, (b, role) in enumerate(zip(query.vector_request.tolist(), query.vector_role.tolist(), strict=True)):
        mine = slice(offsets[b], offsets[b + 1])
        products = vectors[mine] @ query.vectors[j]
        likeness[mine, role] = np.fmax(likeness[mine, role], products) if role == SHUNNED else products
    learned = shard.items.learned
    if len(query.trail) and learned is not None:
        likes = learned.links.likes(query.trail, query.trail_offsets, query.trail_weights)
        requests = np.repeat(np.arange(query.size), np.diff(offsets))
        slots = shard.items.slots.view[rows]
        measure(Trails(learned, query.trail, query.trail_offsets, likes, offsets, requests, slots), likeness)
    return likeness
