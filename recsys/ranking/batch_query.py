"""What a batch of requests asks of every shard."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.config.scenarios import Scenario
from recsys.datatypes import AttributeValue, Filter, Floats, Keys, RecQuery, Rule, UserProfile, item_keys
from recsys.ranking import signals
from recsys.ranking.candidate_shares import asked_of_each
from recsys.ranking.question_rows import Asked, KeptRows, Rows, Want
from recsys.ranking.rules import BatchRules
from recsys.ranking.segment_top import Top
from recsys.ranking.selection import Controls
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import Moment
from recsys.shard import sources
from recsys.shard.candidates import NO_NAMES, ShardQuery
from recsys.shard.short_query import ShortQuery
from recsys.state.shown_items import Shown

_TRENDING = 0.0
"""log2 of the likes that must be left after decay for an item to count as trending: one."""
_KINDS = 256
"""Kinds of requests that are remembered."""
_NO_KEYS, _NO_WEIGHTS = np.zeros(0, np.uint64), np.zeros(0, np.float32)


class Prepared(msgspec.Struct, frozen=True):
    """A query with all that belongs to it."""

    query: RecQuery
    scenario: Scenario
    profile: UserProfile
    vector: Floats | None
    """(width,) query of the text or item asked for; None: only the user's taste counts."""
    missing: tuple[str, ...]
    """Parts that are missing from this query's answer already."""
    rules: tuple[Rule, ...] = ()
    """Of the scenario and of the query, whether they hold now or not."""
    filter: Filter | None = None
    """The scenario's and the query's."""
    shown: Shown | None = None
    """What the user was shown; None: the scenario does not rotate."""
    attributes: Mapping[str, AttributeValue] = {}
    """What is known of the user, where the version's trees look at it."""
    segment: Top | None = None
    """What is liked among users who are alike; None: the user's own likes tell more, or nothing is known of others."""
    unknown: tuple[str, ...] = ()
    """What the filter compares items with and is not known, such as `user.country`."""

    @property
    def diversity(self) -> float:
        return self.scenario.diversity if self.query.diversity is None else self.query.diversity

    @property
    def shun_above(self) -> float | None:
        return None if self.query.items is not None else self.scenario.shun_above

    @property
    def least_relevance(self) -> float | None:
        return None if self.query.items is not None else self.scenario.min_relevance

    @property
    def controls(self) -> Controls:
        shun_above = np.inf if self.shun_above is None or not self.profile.shunned else self.shun_above
        query = self.query
        return Controls(query.k, self.diversity, self.scenario.caps, self.explore, shun_above, query.after)

    @property
    def explore(self) -> float:
        return self.scenario.explore if self.query.explore is None else self.query.explore

    def weights(self, serve: Serve) -> Mapping[str, float]:
        """Of the blend: the version's own where it learned and the scenario asks for them."""
        if serve.weights is not None and self.scenario.learned:
            return serve.weights
        return signals.DEFAULT if self.scenario.weights is None else self.scenario.weights

    def sources(self, spread: int) -> Mapping[str, int]:
        """Candidates that each shard is to give, by source; none where the items to rank are given.

        `spread`: see `Router.spread`.
        """
        if self.query.items is not None:
            return {}
        chosen = self.scenario.sources
        wanted = sources.DEFAULT if chosen is None else {source.source: source.k for source in chosen}
        # One shard may hold all that is left for a filter, so each source gives at least what is asked for.
        least = self.query.k
        return {name: max(asked_of_each(max(k, least), spread), least) for name, k in wanted.items()}


def shard_query(
    serve: Serve,
    batch: Sequence[Prepared],
    moment: Moment,
    rules: BatchRules,
    memory: Wants,
    left_s: float = math.inf,
    spread: int = 1,
    *,
    whole: bool = False,
) -> ShardQuery:
    """One message for the whole batch, which waits `left_s` seconds for the answer. `spread`: see `Router.spread`.

    `memory`: of the caller's own. `whole`: whether nothing is left out that shards were told a while ago; if not, the
    answer may be a `ShortQuery`.
    """
    wants = [memory.of(prepared, prepared.weights(serve), spread) for prepared in batch]
    every = [memory.rows(serve, prepared, want) for prepared, want in zip(batch, wants, strict=True)]
    rows, names = every, NO_NAMES
    if any(own.name for own in every):
        rows, names = _named(every, whole=whole)
    numbers = np.array([row for own in rows for row in own.numbers], np.int64).reshape(-1, 3)
    vectors = [vector for own in rows for vector in own.vectors]
    exclude, exclude_offsets = _ragged([_excluded(prepared) for prepared in batch])
    told: list[int] = names[:, 2].tolist() or [0] * len(batch)
    liked = [p.profile if want.trail and not known else None
             for p, want, known in zip(batch, wants, told, strict=True)]  # fmt: skip
    trail, trail_offsets = _ragged([_NO_KEYS if profile is None else profile.trail for profile in liked])
    query = ShardQuery(
        version=serve.version,
        vectors=np.array(vectors) if vectors else np.zeros((0, serve.space.width), np.float32),
        vector_request=np.arange(len(batch)).repeat([len(own.vectors) for own in rows]),
        vector_role=numbers[:, 0],
        vector_source=numbers[:, 1],
        vector_k=numbers[:, 2],
        trail=trail,
        trail_weights=np.concatenate([_NO_WEIGHTS if p is None else p.trail_weights for p in liked]),
        trail_offsets=trail_offsets,
        column_k=np.array([want.columns for want in wants], np.int64),
        filters=tuple(p.filter for p in batch),
        exclude=exclude,
        exclude_offsets=exclude_offsets,
        asked=tuple(p.query.items or p.query.after for p in batch),
        trend_floor=trend_floor(moment),
        sketches=any(p.diversity > 0 for p in batch),
        grouped=grouped(batch),
        recall_floors=_recall_floors(batch),
        left_s=left_s,
        now=moment.now,
        rule_filters=rules.filters,
        rule_wants=rules.wants([0 if p.query.items is not None else p.query.k for p in batch]) if rules.filters else (),
        names=names,
    )
    if not any(told):
        return query

    def in_full() -> ShardQuery:
        return shard_query(serve, batch, moment, rules, memory, left_s, spread, whole=True)

    return cast(ShardQuery, ShortQuery(query, in_full))


def _named(every: Sequence[Rows], *, whole: bool) -> tuple[list[Rows], Keys]:
    """The rows that are sent of each request, and `ShardQuery.names`."""
    now, rows, names = time.monotonic(), [], []
    for own in every:
        name = own.name
        if name is None:
            rows.append(own)
            names.append((0, 0, 0))
        elif name.told(now) and not whole:
            rows.append(name.short)
            names.append((*name.number, 1))
        else:
            rows.append(own)
            names.append((*name.number, 0))
            name.told_at = now
    return rows, np.array(names, np.uint64)


def trend_floor(moment: Moment) -> float:
    """See `ShardQuery.trend_floor`."""
    return moment.now / moment.trend_half_life_s + _TRENDING


def _recall_floors(batch: Sequence[Prepared]) -> tuple[float, ...]:
    floors = tuple(p.scenario.recall_floor or 0.0 for p in batch)
    return floors if any(floors) else ()


def grouped(batch: Sequence[Prepared]) -> tuple[str, ...]:
    """Attributes that some scenario of the batch caps."""
    return tuple(dict.fromkeys(key for p in batch for key in p.scenario.caps))


class Wants:
    """What requests of each kind want of a shard. It is worked out once: the same few kinds come again and again. So do
    users, whose rows are kept.
    """

    def __init__(self) -> None:
        self._rows = KeptRows()
        # The scenario and the weights are kept beside, so that nothing else gets their ids.
        self._by_kind: dict[tuple[int, int, int, bool, int], tuple[Scenario, Mapping[str, float], Want]] = {}

    def of(self, prepared: Prepared, weights: Mapping[str, float], spread: int) -> Want:
        """`weights`: of the request's blend."""
        scenario, query = prepared.scenario, prepared.query
        kind = (id(scenario), id(weights), query.k, query.items is not None, spread)
        entry = self._by_kind.get(kind)
        if entry is None:
            if len(self._by_kind) >= _KINDS:
                self._by_kind.clear()
            entry = self._by_kind[kind] = (scenario, weights, Want.of(prepared.sources(spread), weights))
        return entry[2]

    def rows(self, serve: Serve, prepared: Prepared, want: Want) -> Rows:
        """The request's vectors. `want`: what `of` returned for it."""
        asked = Asked(prepared.vector, prepared.least_relevance is not None, prepared.shun_above is not None,
                      prepared.explore > 0)  # fmt: skip
        return self._rows.of(serve.space, prepared.profile, want, asked)


def _excluded(prepared: Prepared) -> Keys:
    """Sorted keys of the items that may not come back."""
    query = prepared.query
    named = [*query.exclude, *([query.like_item] if query.like_item is not None else [])]
    seen = _NO_KEYS if query.include_seen else prepared.profile.seen
    return np.union1d(seen, item_keys(named)).astype(np.uint64) if named else seen


def _ragged(parts: Sequence[Keys]) -> tuple[Keys, npt.NDArray[np.int64]]:
    """The parts end to end, and where each begins: part b stands at `offsets[b]:offsets[b + 1]`."""
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return whole, np.array([*accumulate(map(len, parts), initial=0)], np.int64)
