"""The nearest rows to a batch's vectors: walks through the graph, and exact scoring where those fall short."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.index.base import best
from recsys.shard.candidates import ShardQuery
from recsys.shard.equal_items import repeated
from recsys.shard.proposals import Bools, Ints, Proposals, eligible
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS

_WIDER = (1, 4, 16)
"""How many times the wanted neighbours a walk may look for in the place of excluded ones. After the last every match is
scored."""
_BLOCK = 1 << 16
"""Rows scored in one product, so that memory stays bounded however many match."""
_DEEP = 1 << 12
"""Rows that exact scoring looks at for items that are not equal."""
_COPIED = 1 << 14
"""Vectors that are copied at a time to put lines in order: 24 MiB at 384 dimensions."""


@dataclass(frozen=True, slots=True)
class _Vectors:
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
        excluded = np.diff(query.exclude_offsets)[requests]
        return cls(places, query.vectors[places], requests, query.vector_k[places], excluded)


def nearest(shard: Shard, query: ShardQuery, excluded: Keys) -> list[Proposals]:
    """Proposals of the sources that go by vectors. `excluded`: see `proposals.eligible`."""
    groups: dict[tuple[Filter | None, bool], list[int]] = {}
    for place in np.flatnonzero(query.vector_k).tolist():
        new = bool(query.vector_source[place] == BITS["new"])
        groups.setdefault((query.filters[query.vector_request[place]], new), []).append(place)
    return [
        part
        for (given, new), places in groups.items()
        for part in (
            _among_newest(shard, query, excluded, given, np.array(places))
            if new
            else _among_matches(shard, query, excluded, given, np.array(places))
        )
    ]


def _among_newest(
    shard: Shard, query: ShardQuery, excluded: Keys, given: Filter | None, places: Ints
) -> list[Proposals]:
    """Neighbours among the newest items that match the filter: few, so all are scored."""
    newest = shard.lists.newest(given)
    return [_scored(shard, query, _Vectors.of(query, places), newest, excluded)]


def _among_matches(
    shard: Shard, query: ShardQuery, excluded: Keys, given: Filter | None, places: Ints
) -> list[Proposals]:
    """Neighbours among all items that match the filter.

    Walk the graph for some more rows than are wanted, and drop what is excluded or does not match. Vectors that are
    left with too few walk again for more of them; in the end every match is scored.
    """
    matching = shard.lists.count(given)
    share = max(matching, 1) / max(shard.items.live, 1)
    exact = given is not None and matching <= shard.tuning.exact_below
    proposals: list[Proposals] = []
    for wider in _WIDER:
        vectors = _Vectors.of(query, places)
        k = math.ceil(int((vectors.wanted + np.minimum(vectors.excluded, wider * vectors.wanted)).max()) / share)
        # Past a quarter of the matches a walk reads more than scoring them in one product does.
        if exact or k * 4 >= matching:
            break
        rows = _walk(shard, vectors.queries, k)
        chosen = _best_of(shard, rows, eligible(shard, vectors.requests, rows, excluded, given), vectors.wanted)
        enough = chosen.sum(axis=1) >= vectors.wanted
        bits = query.vector_source[places]
        if np.count_nonzero(enough) == len(places):  # nearly always
            return [*proposals, Proposals.of(vectors.requests, rows, chosen, bits)]
        proposals.append(Proposals.of(vectors.requests[enough], rows[enough], chosen[enough], bits[enough]))
        places = places[~enough]
    return [*proposals, _scored(shard, query, _Vectors.of(query, places), shard.lists.matches(given), excluded)]


def _walk(shard: Shard, queries: Floats, k: int) -> Rows:
    """(m, w) rows, best first, padded with negative ones, see `VectorIndex.search`."""
    rows, _ = shard.index.search(queries, k)
    return _by_likeness(shard, queries, rows) if rows.shape[1] > k and shard.index.mixed else rows


def _scored(shard: Shard, query: ShardQuery, vectors: _Vectors, matches: Rows, excluded: Keys) -> Proposals:
    """The nearest of the matches by their exact scores. Where equal items fill the first rows, more are looked at."""
    k = int((vectors.wanted + vectors.excluded).max())
    while True:
        rows, _ = exact(shard, vectors.queries, matches, k)
        keep = eligible(shard, vectors.requests, rows, excluded, None)
        if k >= min(len(matches), _DEEP) or not shard.items.twins.any:
            break
        if (_distinct(shard, rows, keep).sum(axis=1) >= vectors.wanted).all():
            break
        k = min(k * 8, _DEEP)
    chosen = _best_of(shard, rows, keep, vectors.wanted)
    return Proposals.of(vectors.requests, rows, chosen, query.vector_source[vectors.places])


def _best_of(shard: Shard, rows: Rows, keep: Bools, wanted: Ints) -> Bools:
    """Of (m, w) rows, best first, and which of them are eligible: the `wanted` best, and as many that are not equal to
    a better one, so that equal items do not fill a slate.
    """
    chosen = keep & (np.cumsum(keep, axis=1) <= wanted[:, None])
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


def exact(shard: Shard, queries: Floats, rows: Rows, k: int, block: int = _BLOCK) -> tuple[Rows, Floats]:
    """(m, w) the k best of the rows for each of the (m, d) queries, and their scores, best first; w < k where there are
    not k rows. `block`: rows scored in one product.
    """
    top_rows = np.zeros((len(queries), 0), np.int64)
    top_scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        part_rows, scores = best(queries @ shard.items.vectors(part).T, part, min(k, len(part)))
        top_rows, top_scores = np.hstack([top_rows, part_rows]), np.hstack([top_scores, scores])
    order = np.argsort(-top_scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(top_rows, order, 1), np.take_along_axis(top_scores, order, 1)


def _by_likeness(shard: Shard, queries: Floats, rows: Rows) -> Rows:
    """(m, w) rows by their exact scores: where rows share a node, the engine may not know which of them is better."""
    ordered = rows.copy()
    lines = max(_COPIED // rows.shape[1], 1)
    for start in range(0, len(rows), lines):
        part = ordered[start : start + lines]
        vectors = shard.items.vectors(np.maximum(part, 0).ravel()).reshape(*part.shape, -1)
        scores = np.where(part < 0, -np.inf, np.einsum("mwd,md->mw", vectors, queries[start : start + lines]))
        part[:] = np.take_along_axis(part, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return ordered
