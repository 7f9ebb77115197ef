"""A shard's answer to a batch: candidates of all sources, each item once a request, with what ranking needs of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from recsys.columns import lengths
from recsys.datatypes import KEY_BITS, Filter, Floats, Keys, Rows
from recsys.gathering import take
from recsys.shard.candidates import SHUNNED, CandidateSet, Searched, ShardQuery, firsts, tag
from recsys.shard.chosen_rows import once
from recsys.shard.kept_likeness import causes
from recsys.shard.neighbours import nearest
from recsys.shard.proposals import Bools, Ints, Proposals, eligible
from recsys.shard.rule_matches import matches, promoted
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS, COLUMNS, SOURCES
from recsys.shard.told_profiles import Names, names
from recsys.shard.trail_measures import LIKENESS, Trails, measure

_KEY = np.uint64((1 << KEY_BITS) - 1)
_CACHED = 1 << 16
"""Components of vectors that are read together: 256 KiB, which a core's cache still has when they are multiplied."""
_COLUMN_BITS = np.array([BITS[column] for column in COLUMNS])


def search(shard: Shard, query: ShardQuery) -> CandidateSet:
    """The candidates of every request of the batch, each item once a request, with all that ranking needs of them."""
    if query.now is not None:
        shard.items.set_clock(query.now)
    excluded = query.exclude
    if len(excluded) and query.size > 1:  # the tags of the first request are its keys
        excluded = tag(np.arange(query.size).repeat(lengths(query.exclude_offsets)), excluded)
    named = names(shard.told, query)
    near = nearest(shard, query, excluded)
    proposals = [*near.proposals, *_columns(shard, query, excluded), *_asked(shard, query)]
    return _assemble(shard, query, [*proposals, *promoted(shard, query, excluded)], near.searched, named)


def _columns(shard: Shard, query: ShardQuery, excluded: Keys) -> list[Proposals]:
    """The best rows of each column that a request wants, the columns side by side: what is excluded is looked up once
    for all of them.
    """
    if not np.count_nonzero(query.column_k):
        return []
    wanting = query.column_k.max(axis=1).nonzero()[0]
    slack = lengths(query.exclude_offsets)
    groups: dict[Filter | None, list[int]] = {}
    for b in wanting.tolist():
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
    shard: Shard, query: ShardQuery, proposals: list[Proposals], searched: dict[int, Searched], named: Names | None
) -> CandidateSet:
    items = shard.items
    rows, sources, scores, tags = _each_once(shard, Proposals.joined(proposals))
    if query.size == 1:
        offsets = np.array([0, len(tags)])
    else:
        offsets = tags.searchsorted(np.arange(query.size + 1, dtype=np.uint64) << np.uint64(KEY_BITS))
    return CandidateSet(
        offsets=offsets,
        keys=tags & _KEY,
        sources=sources,
        likeness=_likeness(shard, query, rows, offsets, scores, named),
        columns=items.numbers.view.take(rows, axis=0),
        ids=items.ids.at(rows),  # copied where the answer leaves this process
        titles=items.titles.at(rows),
        sketches=take(items.sketches.view, rows) if query.sketches else np.zeros((len(rows), 0), np.int8),
        groups=items.attributes.groups(query.grouped, rows),
        twins=items.twins.keys.view.take(rows),
        matches=matches(shard, query, rows),
        top_count=shard.top_count,
        searched=searched,
        away=bool(shard.index.away),
    )


def _each_once(shard: Shard, proposed: Proposals) -> tuple[Rows, Ints, Floats | None, Keys]:
    """(n,) rows, bits of their sources, scores and tags of what is proposed, in the order of the tags. Scores None: no
    source told any.
    """
    items, told = shard.items, proposed.scores
    if (found := once(proposed, items.keys.view)) is not None:  # nearly always
        return found
    tagged = items.keys.view.take(proposed.rows)
    if np.count_nonzero(proposed.requests):  # of the first request keys are tags
        tagged = tag(proposed.requests, tagged)
    order = tagged.argsort(kind="stable")
    rows, tags = proposed.rows.take(order), tagged.take(order)
    again = tags[1:] == tags[:-1]
    if not np.count_nonzero(again):
        return rows, proposed.bits.take(order), None if told is None else told.take(order), tags
    new = np.append(True, ~again)
    # Two items may share a key, and an item may have changed its row meanwhile.
    if np.count_nonzero(again & (rows[1:] != rows[:-1])):
        order = np.lexsort((proposed.rows, tagged))
        rows, tags = proposed.rows.take(order), tagged.take(order)
        new = firsts(tags, rows, items.ids.column)
    first = new.nonzero()[0]
    bits = np.bitwise_or.reduceat(proposed.bits.take(order), first)
    scores = None if told is None else told.take(order.take(first))
    return rows.take(first), bits, scores, tags.take(first)


def _likeness(
    shard: Shard, query: ShardQuery, rows: Rows, offsets: Ints, scores: Floats | None, named: Names | None
) -> Floats:
    """(n, LIKENESS) of each candidate: inner products with its own request's vectors, and what its trail tells.

    `scores`: (n,) products that a source told; NaN: it told none. None: none did.
    """
    if named is None:
        return _measured(shard, query, rows, offsets, scores)
    known = causes(rows, offsets, scores)
    parts = [shard.likeness.take(name, cause) for name, cause in zip(named.names, known, strict=True)]
    lacking = [b for b, part in enumerate(parts) if part is None]
    if lacking:
        ends = offsets.tolist()
        some, told = rows, scores
        if len(lacking) < query.size:
            some = np.concatenate([rows[ends[b] : ends[b + 1]] for b in lacking])
            told = None if scores is None else np.concatenate([scores[ends[b] : ends[b + 1]] for b in lacking])
        bounds = np.array([0, *accumulate(ends[b + 1] - ends[b] for b in lacking)])
        measured = _measured(shard, named.whole(query, lacking), some, bounds, told)
        for b, start, end in zip(lacking, bounds.tolist(), bounds[1:].tolist(), strict=False):
            parts[b] = own = measured[start:end].copy()
            shard.likeness.put(named.names[b], own, known[b])
    return np.concatenate([part for part in parts if part is not None])


def _measured(shard: Shard, query: ShardQuery, rows: Rows, offsets: Ints, scores: Floats | None) -> Floats:
    """`_likeness` of candidates of which nothing is kept."""
    likeness = np.empty((len(rows), LIKENESS), np.float32)
    likeness.fill(np.nan)
    each = _alike(query, offsets) if len(rows) else None
    if each is not None and scores is None:
        _multiply_alike(shard, query, rows, each, likeness)
    elif len(rows):
        wanting = np.bincount(query.vector_request, minlength=query.size) > 0
        if scores is not None:
            wanting &= ~_take_told(query, offsets, scores, likeness)
        if np.count_nonzero(wanting):
            _multiply(shard, query, rows, offsets, wanting, likeness)
    learned = shard.items.learned
    if len(query.trail) and learned is not None:
        requests = np.arange(query.size).repeat(lengths(offsets))
        likes = learned.links.likes(query.trail, query.trail_offsets, query.trail_weights)
        slots = shard.items.slots.view[rows].astype(np.int64)
        measure(Trails(learned, query.trail, query.trail_offsets, likes, offsets, requests, slots), likeness)
    return likeness


def _take_told(query: ShardQuery, offsets: Ints, scores: Floats, likeness: Floats) -> Bools:
    """Put scores that sources told into `likeness`. Return (B,) bool: the requests that lack nothing then.

    With one vector, to which all candidates are near, every product is told.
    """
    requests = np.arange(query.size).repeat(lengths(offsets))
    complete, untold = np.bincount(query.vector_request, minlength=query.size) == 1, np.isnan(scores)
    if np.count_nonzero(untold):
        complete[requests[untold]] = False
    roles = np.zeros(query.size, np.int64)
    roles[query.vector_request] = query.vector_role
    completed = np.count_nonzero(complete)
    if completed == query.size:
        likeness[np.arange(len(requests)), roles.take(requests)] = scores
    elif completed:
        told = complete[requests].nonzero()[0]
        likeness[told, roles[requests[told]]] = scores[told]
    return complete


def _alike(query: ShardQuery, offsets: Ints) -> tuple[int, int] | None:
    """How many vectors and how many candidates each request has, where all have as many, and vectors of the same roles
    in the same order; None: they have not.
    """
    size, vectors, roles = query.size, len(query.vectors), query.vector_role
    if not vectors or vectors % size or (vectors > size and np.count_nonzero(roles == SHUNNED) > 1):
        return None
    v, c = vectors // size, int(offsets[1])
    if size > 1:
        as_first = np.count_nonzero(roles.reshape(size, v) == roles[:v]) == vectors
        in_order = np.count_nonzero(query.vector_request.reshape(size, v) == np.arange(size)[:, None]) == vectors
        if not (as_first and in_order and np.count_nonzero(lengths(offsets) == c) == size):
            return None
    return v, c


def _multiply_alike(shard: Shard, query: ShardQuery, rows: Rows, each: tuple[int, int], likeness: Floats) -> None:
    """`_multiply` for requests that are `_alike`: the same products, without a call for each of them."""
    (v, c), width = each, query.vectors.shape[1]
    roles, most = query.vector_role[:v], max(_CACHED // width // c, 1)
    for start in range(0, query.size, most):
        end = min(start + most, query.size)
        vectors = shard.items.vectors(rows[start * c : end * c]).reshape(-1, c, width)
        products = vectors @ query.vectors[start * v : end * v].reshape(-1, v, width).transpose(0, 2, 1)
        if v == 1:
            likeness[start * c : end * c, int(roles[0])] = products.ravel()
        else:
            likeness[start * c : end * c].reshape(-1, c, LIKENESS)[:, :, roles] = products


def _multiply(shard: Shard, query: ShardQuery, rows: Rows, offsets: Ints, wanting: Bools, likeness: Floats) -> None:
    """Compute the inner products of the candidates of the marked requests, of each with all its vectors at once."""
    queries, roles, requests = query.vectors, query.vector_role, query.vector_request
    if np.count_nonzero(requests[1:] < requests[:-1]):
        order = np.argsort(requests, kind="stable")
        queries, roles, requests = queries[order], roles[order], requests[order]
    bounds = requests.searchsorted(np.arange(query.size + 1)).tolist()
    starts, shuns = offsets.tolist(), bool(np.count_nonzero(roles == SHUNNED))
    for some in _near_each_other(wanting.nonzero()[0].tolist(), starts, max(_CACHED // query.vectors.shape[1], 1)):
        first, start = starts[some[0]], 0
        vectors = shard.items.vectors(rows[first : starts[some[-1] + 1]])
        for b in some:
            mine, own = slice(bounds[b], bounds[b + 1]), likeness[starts[b] : starts[b + 1]]
            products = vectors[start : start + len(own)] @ queries[mine].T
            own[:, roles[mine]] = products
            if shuns and np.count_nonzero(shunned := roles[mine] == SHUNNED) > 1:
                own[:, SHUNNED] = products[:, shunned].max(axis=1)
            start += len(own)


def _near_each_other(requests: Sequence[int], starts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield the requests in runs without a gap whose candidates together are at most `most`, where they are several."""
    some: list[int] = []
    for b in requests:
        if some and (b != some[-1] + 1 or starts[b + 1] - starts[some[0]] > most):
            yield some
            some = []
        some.append(b)
    if some:
        yield some
