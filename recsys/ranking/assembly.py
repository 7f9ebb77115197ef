"""Between requests and shards: what a batch asks for, and the slates made of the ranked candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import structs

from recsys.config import Scenario, SignalName
from recsys.datatypes import Floats, Recommendation, RecQuery, UserProfile, item_keys
from recsys.model.profiles import RECENT
from recsys.ranking.selection import Controls
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import SIGNALS, Moment
from recsys.shard.candidates import BECAUSE, COLUMNS, LONG, QUERY, ROLES, SOURCES, TASTE, CandidateSet, ShardQuery

_NAMED = [tuple(source for source, bit in SOURCES.items() if bits & bit) for bits in range(2 * max(SOURCES.values()))]
"""Sources by their bits."""

_TRENDING = 0.0
"""log2 of the likes that must be left after decay for an item to count as trending: one."""

_WEIGHED = {QUERY: "query", TASTE: "taste", LONG: "long"} | {BECAUSE + i: "because" for i in range(RECENT)}
"""Role -> the signal that it is needed for even when no source uses it."""
_NO_KEYS, _NO_WEIGHTS = np.zeros(0, np.uint64), np.zeros(0, np.float32)
_TRAIL_SIGNALS = {"near", "follows", "last", "attention", "affinity"}


class Prepared(msgspec.Struct, frozen=True):
    """A query with all that belongs to it."""

    query: RecQuery
    scenario: Scenario
    profile: UserProfile
    vector: Floats | None
    """(width,) query of the text or item asked for; None: only the user's taste counts."""
    missing: tuple[str, ...]
    """Parts that are missing from this query's answer already."""

    @property
    def diversity(self) -> float:
        return self.scenario.diversity if self.query.diversity is None else self.query.diversity

    @property
    def controls(self) -> Controls:
        return Controls(self.query.k, self.diversity, self.scenario.caps, self.explore)

    @property
    def explore(self) -> float:
        return self.scenario.explore if self.query.explore is None else self.query.explore

    def weights(self, serve: Serve) -> Mapping[SignalName, float]:
        """Of the blend: the version's own where it learned and the scenario asks for them."""
        learned = serve.weights is not None and self.scenario.learned
        return serve.weights if serve.weights is not None and learned else self.scenario.weights


def shard_query(serve: Serve, batch: Sequence[Prepared], moment: Moment, left_s: float = math.inf) -> ShardQuery:
    """One message for the whole batch, which waits `left_s` seconds for the answer."""
    vectors: list[Floats] = []
    plan: list[tuple[int, int, int, int]] = []  # request, role, source bit, k
    column_k: list[list[int]] = []
    wishes: dict[tuple[int, int, bool], _Wish] = {}  # a batch has few scenarios
    for b, prepared in enumerate(batch):
        kind = (id(prepared.scenario), prepared.query.k, prepared.query.items is not None)
        wish = wishes.get(kind) or wishes.setdefault(kind, _Wish.of(prepared, serve))
        column_k.append(wish.columns)
        for role, source, vector in _roles(prepared, serve):
            k = wish.sources.get(source, 0)
            if k or wish.weighed[role]:
                vectors.append(vector)
                plan.append((b, role, SOURCES[source] if k else 0, k))
    request, role_of, source_of, k_of = np.array(plan, np.int64).reshape(-1, 4).T
    excluded = [_excluded(prepared) for prepared in batch]
    linked = [p.profile if not _TRAIL_SIGNALS.isdisjoint(p.weights(serve)) else None for p in batch]
    trails = [p.trail if p is not None else _NO_KEYS for p in linked]
    return ShardQuery(
        version=serve.version,
        vectors=np.stack(vectors) if vectors else np.zeros((0, serve.space.width), np.float32),
        vector_request=request,
        vector_role=role_of,
        vector_source=source_of,
        vector_k=k_of,
        trail=np.concatenate(trails),
        trail_weights=np.concatenate([p.trail_weights if p is not None else _NO_WEIGHTS for p in linked]),
        trail_offsets=np.cumsum([0, *map(len, trails)]),
        column_k=np.array(column_k, np.int64),
        filters=tuple(p.query.filter for p in batch),
        exclude=np.concatenate(excluded),
        exclude_offsets=np.cumsum([0, *map(len, excluded)]),
        asked=tuple(p.query.items or () for p in batch),
        trend_floor=moment.now / moment.trend_half_life_s + _TRENDING,
        sketches=any(p.diversity > 0 for p in batch),
        grouped=grouped(batch),
        left_s=left_s,
    )


def grouped(batch: Sequence[Prepared]) -> tuple[str, ...]:
    """Attributes that some scenario of the batch caps."""
    return tuple(dict.fromkeys(key for p in batch for key in p.scenario.caps))


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a scenario wants of a shard."""

    sources: dict[str, int]
    """Candidates by source."""
    columns: list[int]
    """The same for COLUMNS."""
    weighed: list[bool]
    """By role: whether its signal has a weight."""

    @classmethod
    def of(cls, prepared: Prepared, serve: Serve) -> _Wish:
        scenario, k, weights = prepared.scenario, prepared.query.k, prepared.weights(serve)
        # One shard may hold all that is left for a filter, so each source gives at least what is asked for.
        sources: dict[str, int] = {s.source: max(s.k, k) for s in scenario.sources if prepared.query.items is None}
        columns = [sources.get(column, 0) for column in COLUMNS]
        return cls(sources, columns, [_WEIGHED.get(role) in weights for role in range(ROLES)])


def _roles(prepared: Prepared, serve: Serve) -> list[tuple[int, str, Floats]]:
    """(role, source that walks from it, query vector)."""
    roles: list[tuple[int, str, Floats]] = []
    if prepared.vector is not None:
        roles.append((QUERY, "similar", prepared.vector))
    profile = prepared.profile
    if not profile.cold:
        # A text or an item that was asked for is what "similar" means then; the taste only gives its signal.
        source = "similar" if prepared.vector is None else "none"
        taste = serve.space.query(profile.taste)
        roles.append((TASTE, source, taste))
        if prepared.explore > 0:
            roles.append((TASTE, "new", taste))
        if serve.space.learned:
            roles.append((LONG, "none", serve.space.long_query(profile.taste)))
    for i, vector in enumerate(profile.recent_vectors):
        # Only the newest is walked from: the taste reaches what is like the others, and a walk is what costs most.
        roles.append((BECAUSE + i, "because_you_liked" if i == 0 else "none", serve.space.context_query(vector)))
    return roles


def _excluded(prepared: Prepared) -> np.ndarray:
    query = prepared.query
    named = [*query.exclude, *([query.like_item] if query.like_item is not None else [])]
    seen = np.zeros(0, np.uint64) if query.include_seen else prepared.profile.seen
    return np.union1d(seen, item_keys(named)).astype(np.uint64) if named else seen


def recommendations(
    batch: Sequence[Prepared], candidates: CandidateSet, signals: Floats, scores: Floats, chosen: Sequence[np.ndarray]
) -> list[tuple[Recommendation, ...]]:
    """The chosen candidates of each request with their names; only winners become strings."""
    picked = np.concatenate(chosen)
    nearest = np.nan_to_num(candidates.likeness[picked, BECAUSE:], nan=-np.inf).argmax(axis=1).tolist()
    ids, titles = candidates.ids.take(picked).strings(), candidates.titles.take(picked).strings()
    bits = candidates.sources[picked].tolist()
    rounded = np.round(scores[picked].astype(np.float64), 6).tolist()
    made, start = [], 0
    for prepared, mine in zip(batch, chosen, strict=True):
        reason = _Reasons(prepared)
        explained = (
            [dict(zip(SIGNALS, map(float, signals[i]), strict=True)) for i in mine] if prepared.query.explain else ()
        )
        items = [
            Recommendation(
                ids[i], titles[i], i - start + 1, rounded[i], _NAMED[bits[i]][0], reason.of(bits[i], nearest[i])
            )
            for i in range(start, start + len(mine))
        ]
        if explained:
            items = [structs.replace(item, signals=given) for item, given in zip(items, explained, strict=True)]
        made.append(tuple(items))
        start += len(mine)
    return made


class _Reasons:
    """Why a request's items are there: few answers for many items, each made once."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._made: dict[tuple[int, int], tuple[dict[str, str], ...]] = {}

    def of(self, bits: int, nearest: int) -> tuple[dict[str, str], ...]:
        """`nearest`: place of the item liked lately that is most alike; it matters only where that is the reason."""
        key = (bits, nearest if bits & SOURCES["because_you_liked"] else 0)
        if key not in self._made:
            self._made[key] = tuple(self._reason(source, nearest) for source in _NAMED[bits])
        return self._made[key]

    def _reason(self, source: str, nearest: int) -> dict[str, str]:
        prepared = self._prepared
        if source == "because_you_liked":
            return {"code": source, "item_id": prepared.profile.recent[nearest]}
        if source != "similar":
            return {"code": source}
        if prepared.query.like_item is not None:
            return {"code": "similar_to_item", "item_id": prepared.query.like_item}
        return {"code": "similar_to_query" if prepared.vector is not None else "matches_your_taste"}
