"""How a shard finds the candidates of a batch: graph walks, column reads, and exact scoring where those fall short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.config import SourceName
from recsys.datatypes import KEY_BITS, Filter, Floats, Keys, Rows
from recsys.index.base import best
from recsys.shard.candidates import (
    AFFINITY,
    ATTENTION,
    COLUMNS,
    LAST,
    NEAR,
    ROLES,
    SOURCES,
    CandidateSet,
    ShardQuery,
    contains,
    firsts,
    tag,
)
from recsys.shard.equal_items import repeated
from recsys.shard.shard import Shard

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_COLUMN_BITS = np.array([SOURCES[column] for column in COLUMNS])

_DEEP = 1 << 12
"""Rows that exact scoring looks at for items that are not equal."""
_SCORED = 1 << 14
"""Vectors that are copied at a time to put lines in order: 24 MiB at 384 dimensions."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Candidates of one source: (request, row) pairs, not yet unique."""

    requests: Ints
    rows: Rows
    bits: Ints


def search(shard: Shard, query: ShardQuery) -> CandidateSet:
    """Candidates of every request of the batch."""
    excluded = tag(np.repeat(np.arange(query.size), np.diff(query.exclude_offsets)), query.exclude)
    found = [*_nearest(shard, query, excluded), *_columns(shard, query, excluded), *_asked(shard, query)]
    return _assemble(shard, query, found)


def _nearest(shard: Shard, query: ShardQuery, excluded: Keys) -> list[_Found]:
    wanted = np.flatnonzero(query.vector_k)
    groups: dict[object, list[int]] = {}
    for j in wanted.tolist():
        new = bool(query.vector_source[j] == SOURCES["new"])
        groups.setdefault((query.filters[query.vector_request[j]], new), []).append(j)
    return [
        part for vectors in groups.values() for part in _filtered_nearest(shard, query, excluded, np.array(vectors))
    ]


def _filtered_nearest(shard: Shard, query: ShardQuery, excluded: Keys, pending: Ints) -> list[_Found]:
    """Neighbours for vectors that share a filter. Walk the graph for some more than are wanted and drop what is
    excluded or does not match; where too few are left look wider, and in the end score every match.
    """
    given = query.filters[query.vector_request[pending[0]]]
    new = bool(query.vector_source[pending[0]] == SOURCES["new"])
    newest = shard.lists.newest(given) if new else None
    matching = shard.lists.count(given) if newest is None else len(newest)
    everything = given is None and not new
    exact = new or (not everything and matching <= shard.tuning.exact_below)
    share = max(matching, 1) / max(shard.items.live, 1)
    slack = np.diff(query.exclude_offsets)[query.vector_request]
    widen, found = 1, []
    while len(pending):
        most = int((query.vector_k[pending] + np.minimum(slack[pending], widen * query.vector_k[pending])).max())
        k = int(np.ceil(most / share))
        # Past a quarter of the matches a walk reads more than scoring them in one product does.
        exact = exact or k * 4 >= matching
        requests, wanted = query.vector_request[pending], query.vector_k[pending, None]
        if exact:
            full = int((query.vector_k[pending] + slack[pending]).max())
            matches = shard.lists.matches(given) if newest is None else newest
            rows, keep = _exactly(shard, query.vectors[pending], matches, full, requests, wanted, excluded)
        else:
            rows, _ = shard.index.search(query.vectors[pending], k)
            if rows.shape[1] > k and shard.index.mixed:
                rows = _by_likeness(shard, query.vectors[pending], rows)
            keep = _eligible(shard, requests, rows, excluded, given)
        keep = _best_of(shard, rows, keep, wanted)
        short = (keep.sum(axis=1) < query.vector_k[pending]) & (not exact)
        found.append(_pairs(requests[~short], rows[~short], keep[~short], query.vector_source[pending][~short]))
        pending, widen = pending[short], widen * 4
        exact = widen > 16
    return found


def _exactly(
    shard: Shard, queries: Floats, matches: Rows, k: int, requests: Ints, wanted: Ints, excluded: Keys
) -> tuple[Rows, Bools]:
    """(m, w) rows, best first, and which may be given. Where equal items fill the first k, more are looked at."""
    while True:
        rows, _ = _exact(shard, queries, matches, k)
        keep = _eligible(shard, requests, rows, excluded, None)
        if k >= min(len(matches), _DEEP) or not shard.items.twins.any:
            return rows, keep
        if (_distinct(shard, rows, keep).sum(axis=1) >= wanted[:, 0]).all():
            return rows, keep
        k = min(k * 8, _DEEP)


def _best_of(shard: Shard, rows: Rows, keep: Bools, wanted: Ints) -> Bools:
    """Of (m, w) rows, best first, and which of them may be given: the `wanted` best, and as many that are not equal to
    a better one, so that equal items do not fill a slate.
    """
    best = keep & (np.cumsum(keep, axis=1) <= wanted)
    if not shard.items.twins.any:
        return best
    distinct = _distinct(shard, rows, keep)
    return best | (distinct & (np.cumsum(distinct, axis=1) <= wanted))


def _distinct(shard: Shard, rows: Rows, keep: Bools) -> Bools:
    """Those of `keep` whose equal does not stand before them in their line."""
    twins, distinct = shard.items.twins, keep.copy()
    line, column = np.nonzero(keep & twins.several.view[np.maximum(rows, 0)])
    if len(line):
        later = repeated(line, twins.keys.view[rows[line, column]])
        distinct[line[later], column[later]] = False
    return distinct


def _exact(shard: Shard, queries: Floats, rows: Rows, k: int) -> tuple[Rows, Floats]:
    """Score blocks of rows, so that memory stays bounded however many match."""
    block = 1 << 16
    kept_rows = np.zeros((len(queries), 0), np.int64)
    kept = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        top, scores = best(queries @ shard.items.vectors(part).T, part, min(k, len(part)))
        kept_rows, kept = np.hstack([kept_rows, top]), np.hstack([kept, scores])
    order = np.argsort(-kept, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(kept_rows, order, 1), np.take_along_axis(kept, order, 1)


def _by_likeness(shard: Shard, queries: Floats, rows: Rows) -> Rows:
    """(m, w) rows by their exact scores: where rows share a node, the engine may not know which of them is better."""
    made = rows.copy()
    lines = max(_SCORED // rows.shape[1], 1)
    for start in range(0, len(rows), lines):
        part = made[start : start + lines]
        vectors = shard.items.vectors(np.maximum(part, 0).ravel()).reshape(*part.shape, -1)
        scores = np.where(part < 0, -np.inf, np.einsum("mwd,md->mw", vectors, queries[start : start + lines]))
        part[:] = np.take_along_axis(part, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return made


def _columns(shard: Shard, query: ShardQuery, excluded: Keys) -> list[_Found]:
    """The best rows of each column that a request wants, the columns side by side: what is excluded is looked up once
    for all of them.
    """
    slack = np.diff(query.exclude_offsets)
    groups: dict[Filter | None, list[int]] = {}
    for b in np.flatnonzero(query.column_k.any(axis=1)).tolist():
        groups.setdefault(query.filters[b], []).append(b)
    found = []
    for given, members in groups.items():
        requests = np.array(members)
        k = query.column_k[requests]
        most = np.where(k > 0, k + slack[requests, None], 0).max(axis=0).tolist()
        lists = [_ranked(shard, query, column, given, m) for column, m in zip(COLUMNS, most, strict=True)]
        rows = np.concatenate(lists)
        keep = np.empty((len(requests), len(rows)), bool)
        keep[:] = _eligible(shard, requests, rows[None], excluded, None)
        start = 0
        for c, ranked in enumerate(lists):
            column = keep[:, start : start + len(ranked)]
            column &= column.cumsum(axis=1) <= k[:, c, None]
            start += len(ranked)
        line, at = keep.nonzero()
        bits = np.repeat(_COLUMN_BITS, [len(ranked) for ranked in lists])
        found.append(_Found(requests[line], rows[at], bits[at]))
    return found


def _ranked(shard: Shard, query: ShardQuery, column: SourceName, given: Filter | None, most: int) -> Rows:
    """Up to `most` rows that match, best of the column first."""
    if not most:
        return np.zeros(0, np.int64)
    ranked = shard.lists.ranked(column, given, most)[:most]
    return ranked[shard.items.trends.view[ranked] >= query.trend_floor] if column == "trending" else ranked


def _asked(shard: Shard, query: ShardQuery) -> list[_Found]:
    found = []
    for b, ids in enumerate(query.asked):
        if ids:
            rows = shard.items.rows(ids)
            found.append(_Found(np.full(len(rows), b), rows, np.full(len(rows), SOURCES["asked"])))
    return found


def _eligible(shard: Shard, requests: Ints, rows: Rows, excluded: Keys, given: Filter | None) -> Bools:
    """(m, k) bool: rows that are alive, match the filter (None: all do), and are not excluded by their request.

    `rows` is (m, k), or (1, k) where all requests have the same; the answer is (1, k) then where nothing is excluded.
    """
    keep = rows >= 0
    if not len(shard.items):
        return keep
    safe = rows if keep.all() else np.where(keep, rows, 0)
    keep &= shard.items.alive.view[safe]
    if given is not None:
        mask = shard.lists.mask(given)
        keep &= mask[np.minimum(safe, len(mask) - 1)] & (safe < len(mask))
    if len(excluded):
        keep = keep & ~contains(excluded, tag(requests[:, None], shard.items.keys.view[safe]))
    return keep


def _pairs(requests: Ints, rows: Rows, keep: Bools, bits: Ints) -> _Found:
    line, column = np.nonzero(keep)
    return _Found(requests[line], rows[line, column], bits[line])


def _assemble(shard: Shard, query: ShardQuery, found: list[_Found]) -> CandidateSet:
    items = shard.items
    none = np.zeros(0, np.int64)
    rows = np.concatenate([none, *(f.rows for f in found)])
    bits = np.concatenate([none, *(f.bits for f in found)])
    tagged = tag(np.concatenate([none, *(f.requests for f in found)]), items.keys.view[rows])
    order = np.argsort(tagged, kind="stable")
    ordered = rows[order]
    new = np.ones(len(rows), bool)
    new[1:] = np.diff(tagged[order]) != 0
    if (~new[1:] & (ordered[1:] != ordered[:-1])).any():  # two items share a key, or one changed its row meanwhile
        order = np.lexsort((rows, tagged))
        ordered = rows[order]
        new = firsts(tagged[order], ordered, items.ids.column)
    first = np.flatnonzero(new)
    sources = np.bitwise_or.reduceat(bits[order], first) if len(first) else none
    rows = ordered[first]
    starts = np.arange(query.size + 1, dtype=np.uint64) << np.uint64(KEY_BITS)
    offsets = np.searchsorted(tagged[order[first]], starts)
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
        top_count=shard.top_count,
    )


def _likeness(shard: Shard, query: ShardQuery, rows: Rows, offsets: Ints) -> Floats:
    """Inner products of each candidate with its own request's vectors, by role."""
    likeness = np.full((len(rows), ROLES), np.nan, np.float32)
    vectors = shard.items.vectors(rows)
    for j, (b, role) in enumerate(zip(query.vector_request.tolist(), query.vector_role.tolist(), strict=True)):
        mine = slice(offsets[b], offsets[b + 1])
        likeness[mine, role] = vectors[mine] @ query.vectors[j]
    learned = shard.items.learned
    if len(query.trail) and learned is not None:
        requests = np.repeat(np.arange(query.size), np.diff(offsets))
        trail, slots = (query.trail, query.trail_offsets), shard.items.slots.view[rows]
        likes = learned.links.likes(*trail, query.trail_weights)
        likeness[:, NEAR : LAST + 1] = learned.links.scores(likes, learned.half_life, requests, slots)
        likeness[:, ATTENTION] = learned.expected(*trail, offsets, slots)
        likeness[:, AFFINITY] = learned.alike(likes, requests, slots)
    return likeness
