"""Between requests and shards: what a batch asks for, and the slates made of the ranked candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.candidates import BECAUSE, COLUMNS, QUERY, SOURCES, TASTE, CandidateSet, ShardQuery
from recsys.config import Scenario
from recsys.datatypes import Floats, Recommendation, RecQuery, UserProfile, item_keys
from recsys.profiles import RECENT
from recsys.signals import SIGNALS, Moment

_NAMED = [tuple(source for source, bit in SOURCES.items() if bits & bit) for bits in range(2 * max(SOURCES.values()))]
"""Sources by their bits."""

_TRENDING = 0.0
"""log2 of the likes that must be left after decay for an item to count as trending: one."""

_WEIGHED = {QUERY: {"query"}, TASTE: {"taste"}} | {BECAUSE + i: {"because"} for i in range(RECENT)}
"""Role -> the signal that it is needed for even when no source uses it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query with all that belongs to it."""

    query: RecQuery
    scenario: Scenario
    profile: UserProfile
    vector: Floats | None
    """(d,) unit vector of the text or item asked for; None: only the user's taste counts."""
    missing: tuple[str, ...]
    """Parts that are missing from this query's answer already."""

    @property
    def diversity(self) -> float:
        return self.scenario.diversity if self.query.diversity is None else self.query.diversity


def shard_query(version: str, batch: Sequence[Prepared], dimension: int, moment: Moment) -> ShardQuery:
    """One message for the whole batch."""
    vectors: list[Floats] = []
    plan: list[tuple[int, int, int, int]] = []  # request, role, source bit, k
    column_k = np.zeros((len(batch), len(COLUMNS)), np.int64)
    for b, prepared in enumerate(batch):
        wanted: dict[str, int] = {
            # One shard may hold all that is left for a filter, so each source gives at least what is asked for.
            source.source: max(source.k, prepared.query.k)
            for source in prepared.scenario.sources
            if not prepared.query.items
        }
        for c, column in enumerate(COLUMNS):
            column_k[b, c] = wanted.get(column, 0)
        for role, source, vector in _roles(prepared):
            k = wanted.get(source, 0)
            if k or prepared.scenario.weights.keys() & _WEIGHED[role]:
                vectors.append(vector)
                plan.append((b, role, SOURCES[source] if k else 0, k))
    request, role_of, source_of, k_of = np.array(plan, np.int64).reshape(-1, 4).T
    excluded = [_excluded(prepared) for prepared in batch]
    return ShardQuery(
        version=version,
        vectors=np.stack(vectors) if vectors else np.zeros((0, dimension), np.float32),
        vector_request=request,
        vector_role=role_of,
        vector_source=source_of,
        vector_k=k_of,
        column_k=column_k,
        filters=tuple(p.query.filter for p in batch),
        exclude=np.concatenate(excluded),
        exclude_offsets=np.cumsum([0, *map(len, excluded)]),
        asked=tuple(p.query.items or () for p in batch),
        trend_floor=moment.now / moment.trend_half_life_s + _TRENDING,
        sketches=any(p.diversity > 0 for p in batch),
    )


def _roles(prepared: Prepared) -> list[tuple[int, str, Floats]]:
    """(role, source that walks from it, unit vector)."""
    roles: list[tuple[int, str, Floats]] = []
    if prepared.vector is not None:
        roles.append((QUERY, "similar", prepared.vector))
    profile = prepared.profile
    if not profile.cold:
        # A text or an item that was asked for is what "similar" means then; the taste only gives its signal.
        source = "similar" if prepared.vector is None else "none"
        roles.append((TASTE, source, profile.taste / np.linalg.norm(profile.taste)))
    for i, vector in enumerate(profile.recent_vectors):
        # Only the newest is walked from: the taste reaches what is like the others, and a walk is what costs most.
        roles.append((BECAUSE + i, "because_you_liked" if i == 0 else "none", vector))
    return roles


def _excluded(prepared: Prepared) -> np.ndarray:
    query = prepared.query
    named = [*query.exclude, *([query.like_item] if query.like_item is not None else [])]
    seen = np.zeros(0, np.uint64) if query.include_seen else prepared.profile.seen
    return np.union1d(seen, item_keys(named)).astype(np.uint64) if named else seen


def recommendations(
    prepared: Prepared, candidates: CandidateSet, signals: Floats, scores: Floats, chosen: np.ndarray
) -> tuple[Recommendation, ...]:
    """The chosen candidates with their names; only winners become strings."""
    made = []
    for i in chosen.tolist():
        sources = _NAMED[int(candidates.sources[i])]
        reasons = tuple(_reason(source, prepared, candidates.likeness[i]) for source in sources)
        made.append(
            Recommendation(
                item_id=candidates.ids[i],
                title=candidates.titles[i],
                score=float(scores[i]),
                source=sources[0],
                reasons=reasons,
                signals=dict(zip(SIGNALS, map(float, signals[i]), strict=True)) if prepared.query.explain else None,
            )
        )
    return tuple(made)


def _reason(source: str, prepared: Prepared, likeness: Floats) -> dict[str, str]:
    if source == "because_you_liked":
        nearest = int(likeness[BECAUSE : BECAUSE + len(prepared.profile.recent)].argmax())
        return {"code": source, "item_id": prepared.profile.recent[nearest]}
    if source != "similar":
        return {"code": source}
    if prepared.query.like_item is not None:
        return {"code": "similar_to_item", "item_id": prepared.query.like_item}
    return {"code": "similar_to_query" if prepared.vector is not None else "matches_your_taste"}
