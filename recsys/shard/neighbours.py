"""The nearest rows to a batch's vectors: walks through the graph, and exact scoring where those fall short."""

from __future__ import annotations

import math
from typing import cast

import msgspec
import numpy as np

from recsys.columns import lengths
from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.index.base import Selects
from recsys.shard.candidates import Searched, ShardQuery
from recsys.shard.chosen_rows import ALL, Lines, first
from recsys.shard.equal_items import repeated
from recsys.shard.exact import by_likeness, exact
from recsys.shard.match_depth import Estimate, observed
from recsys.shard.plans import PLANS, in_steps
from recsys.shard.proposals import Bools, Ints, Proposals, eligible
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS

_NEW = BITS["new"]
_WIDER = (1, 4, 16)
"""How many times the wanted neighbours a walk may look for in the place of excluded ones. After the last every match is
scored."""
_DEAD = 2
"""Rows that the first walk looks for in the place of dead ones, which stay in the graph until the next sweep, beside
twice as many as there are on average. Of 50 neighbours among 40,000 items with 64 dead rows a walk meets more than two
in one case of 12,000."""
_WALKS = 3
"""Walks under a filter, each deeper than the one before, after which every match is scored."""
_DEEP = 1 << 12
"""Rows that exact scoring looks at for items that are not equal."""


class _Vectors(msgspec.Struct, frozen=True):
    """m vectors of a query that share a filter: (m, d) float32 `queries`, and (m,) all else."""

    places: Ints
    """Rows in the query."""
    queries: Floats
    requests: Ints
    wanted: Ints
    """Neighbours each."""
    excluded: Ints
    """Items that the request of each excludes."""

    @classmethod
    def of(cls, query: ShardQuery, places: Ints) -> _Vectors:
        requests = query.vector_request[places]
        return cls(places, query.vectors[places], requests, query.vector_k[places], _excluded(query, requests))

    @classmethod
    def in_order(cls, query: ShardQuery, places: Ints) -> _Vectors:
        """Of ascending places: where these are all, nothing is copied."""
        if len(places) < len(query.vectors):
            return cls.of(query, places)
        requests = query.vector_request
        return cls(places, query.vectors, requests, query.vector_k, _excluded(query, requests))


def _excluded(query: ShardQuery, requests: Ints) -> Ints:
    return lengths(query.exclude_offsets)[requests] if len(query.exclude) else np.zeros(len(requests), np.int64)


class Nearest(msgspec.Struct, frozen=True):
    """What the sources propose that go by vectors, and how it was found for each request that has a filter."""

    proposals: list[Proposals]
    searched: dict[int, Searched]


def nearest(shard: Shard, query: ShardQuery, excluded: Keys) -> Nearest:
    """`excluded`: see `proposals.eligible`."""
    proposals: list[Proposals] = []
    searched: dict[int, Searched] = {}
    for (given, new), some in _groups(query).items():
        if new:
            proposals.append(_among_newest(shard, query, excluded, given, some))
        elif given is None:
            proposals += _among_all(shard, query, excluded, some)
        else:
            matches, searches = _among_matches(shard, query, excluded, given, some)
            proposals += matches
            searched.update(searches)
    return Nearest(proposals, searched)


def _groups(query: ShardQuery) -> dict[tuple[Filter | None, bool], Ints]:
    """Places of the vectors whose neighbours are wanted, by filter and by whether they are wanted among new items."""
    places = query.vector_k.nonzero()[0]
    new = query.vector_source == _NEW
    if len(places) and not any(query.filters) and not np.count_nonzero(new):
        return {(None, False): places}
    groups: dict[tuple[Filter | None, bool], list[int]] = {}
    requests = query.vector_request[places].tolist()
    for place, request, is_new in zip(places.tolist(), requests, new[places].tolist(), strict=True):
        groups.setdefault((query.filters[request], is_new), []).append(place)
    return {kind: np.array(some) for kind, some in groups.items()}


def _among_newest(shard: Shard, query: ShardQuery, excluded: Keys, given: Filter | None, places: Ints) -> Proposals:
    """Neighbours among the newest items that match the filter: few, so all are scored."""
    newest = shard.lists.newest(given)
    return _scored(shard, query, _Vectors.of(query, places), newest, excluded)


def _among_all(shard: Shard, query: ShardQuery, excluded: Keys, places: Ints) -> list[Proposals]:
    """Neighbours among all items.

    Walk the graph for some more rows than are wanted, and drop what is excluded. Vectors that are left with too few
    walk again for more of them; in the end every item is scored.
    """
    live, shown = shard.items.live, max(shard.items.shown, 1)
    dead = max(len(shard.index) + shard.fresh.waiting - live, 0)
    proposals: list[Proposals] = []
    for wider in () if shard.exact else _WIDER:
        vectors = _Vectors.in_order(query, places)
        wanted = vectors.wanted
        k = max(wanted.tolist())
        others = min(dead, _DEAD + 2 * k * dead // max(live, 1)) if wider == 1 else dead
        if others or len(query.exclude):
            each = zip(wanted.tolist(), vectors.excluded.tolist(), strict=True)  # of few: quicker than numpy's calls
            k = max(most + min(excludes + others, wider * most) for most, excludes in each)
        k = -(-k * live // shown)  # rows that may not be shown now stand among the others
        # Past a quarter of the items a walk reads more than scoring them in one product does.
        if k * 4 >= live:
            break
        rows, scores = _walk(shard, vectors.queries, k)
        bits = query.vector_source.take(places)
        if (plain := _plain(shard, Lines(vectors.requests, wanted, bits, rows, scores), excluded)) is not None:
            return [*proposals, plain]  # nearly always
        keep = eligible(shard, vectors.requests, rows, excluded, None)
        chosen = _best_of(shard, rows, keep, wanted)
        enough = chosen.sum(axis=1) >= wanted
        if np.count_nonzero(enough) == len(places):
            return [*proposals, Proposals.of(vectors.requests, rows, chosen, bits, scores)]
        proposals.append(_of_lines(enough, vectors.requests, rows, chosen, bits, scores))
        places = places[~enough]
    return [*proposals, _scored(shard, query, _Vectors.of(query, places), shard.lists.matches(None), excluded)]


def _plain(shard: Shard, lines: Lines, excluded: Keys) -> Proposals | None:
    """The best of what was found, where no items are equal; None: see `first`."""
    items = shard.items
    if items.twins.any:
        return None
    shown = items.shown  # read first, see `eligible`
    return first(lines, items.keys.view, items.alive.view if shown != len(items) else ALL, excluded)


def _among_matches(
    shard: Shard, query: ShardQuery, excluded: Keys, given: Filter, places: Ints
) -> tuple[list[Proposals], dict[int, Searched]]:
    """Neighbours among the items that match the filter, each vector by the plan that is cheapest for it.

    A walk that finds too few matches tells how few there are near the query, and the plan is chosen again; one with an
    allow-list is made once. In the end every match is scored.
    """
    matching = shard.lists.count(given)
    proposals: list[Proposals] = []
    plans = dict.fromkeys(query.vector_request[places].tolist(), 0)
    estimate = _estimate(shard, _Vectors.of(query, places), given, matching)
    depths, listed, spent = estimate.depths, estimate.listed, np.zeros(len(places))
    for _ in range(_WALKS):
        walks, by_list = shard.planner.walks(depths, listed, shard.tuning.ef_search)
        walking = shard.planner.walking(walks, matching, spent)
        left, deeper, taken = [places[~walking]], [depths[~walking]], [spent[~walking]]
        for here in in_steps(depths, walking & ~by_list):
            some, k = _Vectors.of(query, places[here]), math.ceil(depths[here].max())
            rows, scores = _walk(shard, some.queries, k)
            keep = eligible(shard, some.requests, rows, excluded, given)
            chosen = _best_of(shard, rows, keep, some.wanted)
            enough = chosen.sum(axis=1) >= some.wanted
            proposals.append(_of_lines(enough, some.requests, rows, chosen, query.vector_source[some.places], scores))
            _note(plans, some.requests, "post_filter")
            left.append(some.places[~enough])
            deeper.append(observed(k, keep[~enough].sum(axis=1), some.wanted[~enough]))
            taken.append((spent + walks)[here][~enough])
        for here in () if listed is None else in_steps(listed, walking & by_list):
            assert listed is not None
            some, effort = _Vectors.of(query, places[here]), math.ceil(listed[here].max())
            rows, chosen, enough = _walk_allowed(shard, some, given, max(effort, shard.tuning.ef_search), excluded)
            proposals.append(_of_lines(enough, some.requests, rows, chosen, query.vector_source[some.places], None))
            _note(plans, some.requests, "allow_list")
            left.append(some.places[~enough])
            deeper.append(depths[here][~enough])
            taken.append((spent + walks)[here][~enough])
        places, depths = np.concatenate(left), np.minimum(np.concatenate(deeper), shard.items.live)
        spent, listed = np.concatenate(taken), None
        if not len(places) or not walking.any():
            break
    if len(places):
        vectors = _Vectors.of(query, places)
        proposals.append(_scored(shard, query, vectors, shard.lists.matches(given), excluded))
        _note(plans, vectors.requests, "exact")
    return proposals, {request: Searched(bits, matching) for request, bits in plans.items()}


def _estimate(shard: Shard, vectors: _Vectors, given: Filter, matching: int) -> Estimate:
    """How far each vector looks, see `match_depth.py`; infinitely far where all matches are scored in any case."""
    wanted = vectors.wanted + np.minimum(vectors.excluded, vectors.wanted)
    shortest, _ = shard.planner.walks(wanted.astype(np.float64), None, shard.tuning.ef_search)
    few = shard.exact or matching <= shard.tuning.exact_below
    if few or not shard.planner.walking(shortest, matching, np.zeros(len(wanted))).any():
        return Estimate(np.full(len(wanted), np.inf))
    mask = shard.lists.mask(given)
    return shard.depths.estimate(vectors.queries, wanted, mask, matching, allow_list=shard.index.selects)


def _note(plans: dict[int, int], requests: Ints, plan: str) -> None:
    for request in requests.tolist():
        plans[request] |= PLANS[plan]


def _of_lines(lines: Bools, requests: Ints, rows: Rows, chosen: Bools, bits: Ints, scores: Floats | None) -> Proposals:
    """What is proposed of some of the lines."""
    own = None if scores is None else scores[lines]
    return Proposals.of(requests[lines], rows[lines], chosen[lines], bits[lines], own)


def _walk(shard: Shard, queries: Floats, k: int) -> tuple[Rows, Floats | None]:
    """(m, w) rows, best first, padded with negative ones, see `VectorIndex.search`; and their scores, where these are
    exact.
    """
    first = shard.fresh.first  # before the walk: a row that is linked meanwhile is fresh to it
    rows, scores = shard.index.search(queries, k)
    if first < len(shard.items) and not shard.index.away:
        return shard.fresh.beside(first, queries, k, rows, scores)
    if rows.shape[1] > k and shard.index.mixed:
        return by_likeness(shard.items, queries, rows), None
    return rows, scores if shard.index.exact_scores else None


def _walk_allowed(
    shard: Shard, vectors: _Vectors, given: Filter, depth: int, excluded: Keys
) -> tuple[Rows, Bools, Bools]:
    """(m, w) rows by a walk with an allow-list, and which of them are chosen; and (m,) whether they are enough."""
    shown, index = max(shard.items.shown, 1), cast("Selects", shard.index)
    k = int((vectors.wanted + np.minimum(vectors.excluded, vectors.wanted)).max())
    k = -(-k * shard.items.live // shown)
    first, allowed = shard.fresh.first, shard.allow_lists.of(given)
    rows, scores = index.search_allowed(vectors.queries, k, depth, allowed)
    if first < len(shard.items):
        mask = shard.lists.mask(given)
        rows, scores = shard.fresh.beside(first, vectors.queries, k, rows, scores, mask)
    elif rows.shape[1] > k and index.mixed:
        rows = by_likeness(shard.items, vectors.queries, rows)
    keep = eligible(shard, vectors.requests, rows, excluded, given)
    chosen = _best_of(shard, rows, keep, vectors.wanted)
    enough = shard.depths.near_enough(vectors.queries, scores, keep, vectors.wanted, depth, shard.lists.count(given))
    return rows, chosen, enough


def _scored(shard: Shard, query: ShardQuery, vectors: _Vectors, matches: Rows, excluded: Keys) -> Proposals:
    """The nearest of the matches by their exact scores. Where equal items fill the first rows, more are looked at."""
    k = int((vectors.wanted + vectors.excluded).max())
    while True:
        rows, scores = exact(shard.items, vectors.queries, matches, k)
        keep = eligible(shard, vectors.requests, rows, excluded, None)
        if k >= min(len(matches), _DEEP) or not shard.items.twins.any:
            break
        if (_distinct(shard, rows, keep).sum(axis=1) >= vectors.wanted).all():
            break
        k = min(k * 8, _DEEP)
    chosen = _best_of(shard, rows, keep, vectors.wanted)
    return Proposals.of(vectors.requests, rows, chosen, query.vector_source[vectors.places], scores)


def _best_of(shard: Shard, rows: Rows, keep: Bools, wanted: Ints) -> Bools:
    """Of (m, w) rows, best first, and which of them are eligible: the `wanted` best, and as many that are not equal to
    a better one, so that equal items do not fill a slate.
    """
    chosen = keep if rows.shape[1] <= wanted.min() else keep & (keep.cumsum(axis=1) <= wanted[:, None])
    if not shard.items.twins.any:
        return chosen
    distinct = _distinct(shard, rows, keep)
    return chosen | (distinct & (np.cumsum(distinct, axis=1) <= wanted[:, None]))


def _distinct(shard: Shard, rows: Rows, keep: Bools) -> Bools:
    """Those of `keep` whose equal does not stand before them in their line."""
    twins, distinct = shard.items.twins, keep.copy()
    line, column = np.nonzero(keep & twins.several.view[np.maximum(rows, 0)])
    if len(line):
        later = repeated(line, twins.keys.view[rows[line, column]])
        distinct[line[later], column[later]] = False
    return distinct
