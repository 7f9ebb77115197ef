"""What the shards were asked for a user who comes alone, kept for the next time.

To make the question takes most of the time from a request to its search. It follows from the user's profile and from a
few wishes, and is the same while they are: only the moment and the time that is left are others. It is kept as long as
the profile is, so nothing stays of a user whose profile has been forgotten.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

from recsys.config.scenarios import Scenario
from recsys.datatypes import Rule, UserProfile
from recsys.ranking.batch_query import Prepared, Wants, shard_query, trend_floor
from recsys.ranking.rules import BatchRules
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import Moment
from recsys.shard.candidates import ShardQuery
from recsys.transport import wire

MOST = 2_000
"""Questions that are kept. One of 384 dimensions takes some 4 KB."""

_Wishes = tuple[Scenario, Serve, int, int, bool, float | None, float | None, tuple[Rule, ...]]


class _Kept:
    __slots__ = ("payload", "profile", "query", "wishes")

    def __init__(self, profile: weakref.ref[UserProfile], wishes: _Wishes, query: ShardQuery) -> None:
        self.profile, self.wishes, self.query = profile, wishes, query
        self.payload: bytes | None = None
        """The question as it is sent; None: it was asked once."""

    def again(self, moment: Moment, left_s: float) -> ShardQuery:
        if self.payload is None:
            self.payload = wire.encode(self.query)
        self.query = wire.of_the_moment(self.payload, self.query, trend_floor(moment), left_s, moment.now)
        return self.query


class KeptQuestions:
    """Makes the questions of all batches. The oldest of those that are kept leave first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._wants = Wants()
        self._by_profile: dict[int, _Kept] = {}
        """By the profile's id()."""

    def __len__(self) -> int:
        return len(self._by_profile)

    def of(
        self,
        serve: Serve,
        batch: Sequence[Prepared],
        moment: Moment,
        rules: BatchRules,
        left_s: float = math.inf,
        spread: int = 1,
    ) -> ShardQuery:
        """See `shard_query`."""
        if len(batch) != 1 or not _plain(batch[0]):
            return shard_query(serve, batch, moment, rules, self._wants, left_s, spread)
        profile, wishes = batch[0].profile, _wishes(batch[0], serve, spread, rules)
        kept = self._by_profile.get(id(profile))
        if kept is not None and kept.profile() is profile and _same(kept.wishes, wishes):
            return kept.again(moment, left_s)
        query = shard_query(serve, batch, moment, rules, self._wants, left_s, spread, whole=True)
        self._keep(profile, wishes, query)
        return query

    def _keep(self, profile: UserProfile, wishes: _Wishes, query: ShardQuery) -> None:
        by_profile, place = self._by_profile, id(profile)
        by_profile.pop(place, None)
        if len(by_profile) >= self._most:
            del by_profile[next(iter(by_profile))]

        def forget(gone: weakref.ref[UserProfile]) -> None:
            if (kept := by_profile.get(place)) is not None and kept.profile is gone:
                del by_profile[place]

        by_profile[place] = _Kept(weakref.ref(profile, forget), wishes, query)


def _plain(prepared: Prepared) -> bool:
    """Whether nothing but the profile and `_wishes` says what is asked."""
    query = prepared.query
    named = query.exclude or query.items is not None or query.after or query.like_item is not None or query.basket
    return not (named or prepared.vector is not None or prepared.filter is not None)


def _wishes(prepared: Prepared, serve: Serve, spread: int, rules: BatchRules) -> _Wishes:
    query, [holding] = prepared.query, rules.by_request
    wishes = prepared.scenario, serve, spread, query.k, query.include_seen, query.diversity, query.explore
    return *wishes, tuple(holding)


def _same(kept: _Wishes, wishes: _Wishes) -> bool:
    """Scenario and version are compared as objects: each change of settings, and each version, has its own."""
    return kept[0] is wishes[0] and kept[1] is wishes[1] and kept[2:] == wishes[2:]
