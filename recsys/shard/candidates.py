"""Candidates: how a batch asks a shard for them, and what a shard answers.

Both messages are columnar and hold a whole batch of B requests, so one call a shard carries them all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from recsys.columns import StringColumn, lengths
from recsys.datatypes import KEY_BITS, Filter, Floats, Keys
from recsys.model.profiles import RECENT

QUERY, TASTE, LONG, SHUNNED, BECAUSE = range(5)
"""Roles of vectors, and the first columns of `CandidateSet.likeness`: what was asked, the user's taste, the long part
of it, the nearest of the items disliked last, and from BECAUSE on one each for the items liked last."""
ROLES = BECAUSE + RECENT

NUMBERS = 3
"""Columns of `CandidateSet.columns`."""


NO_NAMES = np.zeros((0, 3), np.uint64)


class ShardQuery(msgspec.Struct, frozen=True):
    """What a batch of B requests wants of one shard.

    `vectors` is (m, width) float32, see `model/space.py`; row j belongs to request `vector_request[j]`, plays
    `vector_role[j]`, and wants `vector_k[j]` neighbours for the source with bit `vector_source[j]` (0 of both: it only
    gives a signal). `trail` (t,) uint64 and `trail_weights` (t,) float32 are the keys and weights of the last likes,
    newest first, request b's at `trail_offsets[b]:trail_offsets[b + 1]`: for what the version learned, so empty where
    it learned nothing. `column_k` is (B, len(COLUMNS)): candidates by the sources of `sources.COLUMNS`. `exclude` holds
    item keys, sorted within each request, request b's at `exclude_offsets[b]:exclude_offsets[b + 1]`. `asked[b]` are
    ids that are scored in any case. `names` is (B, 3) uint64, or (0, 3) where nobody has one: the name under which the
    shard was told, or is told now, what belongs to a request's user, and whether it is left out here, see
    `told_profiles.py`; zeros: the request has no name.
    """

    version: str
    vectors: Floats
    vector_request: npt.NDArray[np.int64]
    vector_role: npt.NDArray[np.int64]
    vector_source: npt.NDArray[np.int64]
    vector_k: npt.NDArray[np.int64]
    trail: Keys
    trail_weights: Floats
    trail_offsets: npt.NDArray[np.int64]
    column_k: npt.NDArray[np.int64]
    filters: tuple[Filter | None, ...]
    exclude: Keys
    exclude_offsets: npt.NDArray[np.int64]
    asked: tuple[tuple[str, ...], ...]
    trend_floor: float
    """log2 of the decayed likes, see `serving/popularity_feed.py`: an item under this is not trending any more."""
    sketches: bool
    grouped: tuple[str, ...]
    """Attributes whose values are wanted of each candidate, for caps."""
    recall_floors: tuple[float, ...] = ()
    """What the scenario of each request asks of recall, 0.0 where it asks for nothing; empty: none of them does."""
    left_s: float = math.inf
    """Seconds for which the answer is of use, from the moment at which the shard gets the query."""
    now: float | None = None
    """Unix seconds at which items have to be available; None: as in the search before."""
    rule_filters: tuple[Filter, ...] = ()
    """Filters of rules: the shard tells of each candidate which of them match it."""
    rule_wants: tuple[tuple[int, int, int], ...] = ()
    """(request, place in `rule_filters`, k): candidates of the source `promoted`."""
    names: Keys = msgspec.field(default_factory=lambda: NO_NAMES)

    @property
    def size(self) -> int:
        return len(self.filters)

    def part(self, requests: npt.NDArray[np.int64]) -> ShardQuery:
        """The same of some of its requests, given in ascending order, which are numbered from 0 there."""
        chosen = np.zeros(self.size, bool)
        chosen[requests] = True
        numbers = np.cumsum(chosen) - 1
        vectors = chosen[self.vector_request]
        likes, excluded = (chosen.repeat(lengths(offsets)) for offsets in (self.trail_offsets, self.exclude_offsets))
        return replace(
            self,
            vectors=self.vectors[vectors],
            vector_request=numbers[self.vector_request[vectors]],
            vector_role=self.vector_role[vectors],
            vector_source=self.vector_source[vectors],
            vector_k=self.vector_k[vectors],
            trail=self.trail[likes],
            trail_weights=self.trail_weights[likes],
            trail_offsets=_offsets(lengths(self.trail_offsets)[requests]),
            column_k=self.column_k[requests],
            filters=tuple(self.filters[request] for request in requests.tolist()),
            exclude=self.exclude[excluded],
            exclude_offsets=_offsets(lengths(self.exclude_offsets)[requests]),
            asked=tuple(self.asked[request] for request in requests.tolist()),
            recall_floors=tuple(self.recall_floors[request] for request in requests.tolist() if self.recall_floors),
            rule_wants=tuple((int(numbers[b]), place, k) for b, place, k in self.rule_wants if chosen[b]),
            names=self.names[requests] if len(self.names) else self.names,
        )


class Searched(msgspec.Struct, frozen=True):
    """How the neighbours of a request that has a filter were looked for."""

    plans: int
    """Bits of `plans.PLANS`."""
    matches: int
    """Live items that match the filter."""


class CandidateSet(msgspec.Struct, frozen=True):
    """A shard's answer: n candidates of B requests; those of request b stand at `offsets[b]:offsets[b + 1]`, by key.

    keys      (n,) uint64, see `item_key`
    sources   (n,) int64, `sources.BITS`
    likeness  (n, LIKENESS) float32: inner products by role, then the measures of `trail_measures.py`; NaN where the
              request has no such vector, or no trail
    columns   (n, NUMBERS) float64: weighted likes, trend as log2, created_at in Unix seconds (NaN: unknown)
    sketches  (n, w) int8, or (n, 0) when not asked for
    groups    (n, g) uint64, key of the first value of each attribute asked for; 0: the item has none
    twins     (n,) uint64 of 48 bits, the same for equal items, see `equal_items.py`; 0: equal to none
    matches   (n, m) uint8, a bit for each of `ShardQuery.rule_filters`, see `rule_matches.py`
    top_count the most likes of any item that the shard holds, which popularity is measured against
    searched  request -> how its neighbours were looked for; only of requests with a filter, and none that look for none
    away      whether the server of the shard's index did not answer: its items were scored one by one instead
    """

    offsets: npt.NDArray[np.int64]
    keys: Keys
    sources: npt.NDArray[np.int64]
    likeness: Floats
    columns: npt.NDArray[np.float64]
    ids: StringColumn
    titles: StringColumn
    sketches: npt.NDArray[np.int8]
    groups: Keys
    twins: Keys
    matches: npt.NDArray[np.uint8]
    top_count: float
    searched: dict[int, Searched] = {}
    away: bool = False

    @property
    def requests(self) -> npt.NDArray[np.int64]:
        """(n,) the request of each candidate."""
        if len(self.offsets) == 2:
            return np.zeros(len(self.keys), np.int64)
        return np.arange(len(self.offsets) - 1).repeat(lengths(self.offsets))

    def spread(self, requests: npt.NDArray[np.int64], size: int) -> CandidateSet:
        """The same as the answer to a batch of `size` requests, of which it was asked for these, in ascending order."""
        counts = np.zeros(size, np.int64)
        counts[requests] = lengths(self.offsets)
        numbers = requests.tolist()
        searched = {numbers[request]: searched for request, searched in self.searched.items()}
        return replace(self, offsets=_offsets(counts), searched=searched)

    @classmethod
    def merge(cls, parts: list[CandidateSet]) -> CandidateSet:
        """The candidates of several shards, in order of request and key. An item that two shards hold occurs once. Two
        items that share a key both stay.
        """
        if len(parts) == 1:
            return parts[0]
        tagged = np.concatenate([tag(p.requests, p.keys) for p in parts])
        order = np.argsort(tagged, kind="stable")  # each part is in order: this only merges them
        ids = StringColumn.concat([p.ids for p in parts])
        first = firsts(tagged[order], order, ids)
        order = order[first]
        tagged = tagged[order]
        starts = np.arange(len(parts[0].offsets), dtype=np.uint64) << np.uint64(KEY_BITS)
        return cls(
            offsets=np.searchsorted(tagged, starts),
            keys=np.concatenate([p.keys for p in parts])[order],
            sources=np.concatenate([p.sources for p in parts])[order],
            likeness=np.concatenate([p.likeness for p in parts])[order],
            columns=np.concatenate([p.columns for p in parts])[order],
            ids=ids.at(order),  # all but a slate's are never read
            titles=StringColumn.concat([p.titles for p in parts]).at(order),
            sketches=np.concatenate([p.sketches for p in parts])[order],
            groups=np.concatenate([p.groups for p in parts])[order],
            twins=np.concatenate([p.twins for p in parts])[order],
            matches=np.concatenate([p.matches for p in parts])[order],
            top_count=max(p.top_count for p in parts),
            searched=_merged([p.searched for p in parts]),
            away=any(p.away for p in parts),
        )

    def kept(self, keep: npt.NDArray[np.bool_]) -> CandidateSet:
        """Those of the n candidates that are marked."""
        rows = np.flatnonzero(keep)
        counts = np.bincount(self.requests[rows], minlength=len(self.offsets) - 1)
        return replace(
            self,
            offsets=_offsets(counts),
            keys=self.keys[rows],
            sources=self.sources[rows],
            likeness=self.likeness[rows],
            columns=self.columns[rows],
            ids=self.ids.take(rows),
            titles=self.titles.take(rows),
            sketches=self.sketches[rows],
            groups=self.groups[rows],
            twins=self.twins[rows],
            matches=self.matches[rows],
        )


def _merged(parts: Sequence[Mapping[int, Searched]]) -> dict[int, Searched]:
    """All plans of all shards, and their matches together."""
    merged: dict[int, Searched] = {}
    for part in parts:
        for request, searched in part.items():
            other = merged.get(request, Searched(0, 0))
            merged[request] = Searched(other.plans | searched.plans, other.matches + searched.matches)
    return merged


def _offsets(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n + 1,) where each of n parts of these sizes begins, and where the last ends."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def tag(requests: npt.NDArray[np.int64], keys: Keys) -> Keys:
    """(n,) uint64: the request's place in the batch above the key's 48 bits, so that requests do not share keys."""
    return (requests.astype(np.uint64) << np.uint64(KEY_BITS)) | keys


def firsts(tagged: Keys, rows: npt.NDArray[np.int64], ids: StringColumn) -> npt.NDArray[np.bool_]:
    """(n,) bool: which of the sorted tags, each with its row in `ids`, are the first of an item.

    Keys have 48 bits: among 24 million items one pair is expected to share a key. So if tags are equal and rows are
    not, ids decide.
    """
    first = np.ones(len(tagged), bool)
    first[1:] = tagged[1:] != tagged[:-1]
    if np.count_nonzero(first) == len(first):
        return first
    for i in (np.flatnonzero(~first[1:] & (rows[1:] != rows[:-1])) + 1).tolist():
        start = int(np.searchsorted(tagged, tagged[i]))
        first[i] = ids[int(rows[i])] not in {ids[row] for row in rows[start:i].tolist()}
    return first


def contains(sorted_tags: Keys, tags: Keys) -> npt.NDArray[np.bool_]:
    """Which of the tags, of any shape, stand among the (n,) sorted ones: bool of their shape."""
    if not len(sorted_tags):
        return np.zeros(tags.shape, bool)
    at = np.minimum(sorted_tags.searchsorted(tags), len(sorted_tags) - 1)
    return np.asarray(sorted_tags[at] == tags)
