"""Profiles of a batch of users: from the cache in one trip, rebuilt from the history where that is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from redis.exceptions import RedisError

from recsys.breaker import Breaker
from recsys.config import Serving
from recsys.datatypes import Floats, Interaction, UserProfile
from recsys.profiles import Taste, fold
from recsys.serving import Serve
from recsys.shards import Shards
from recsys.telemetry import SILENT, Telemetry
from recsys.users import Appended, UserStore, in_order

_LACKING_TTL_S = 2
"""Seconds for which a profile stays cached that lacks an item it should contain: the item may come."""


class Profiles(Protocol):
    """Where the profiles of a batch come from."""

    async def load(
        self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], dict[str, Floats], tuple[str, ...]]:
        """Profiles by user, contexts of the items, and the parts that did not answer."""


class ProfileLoader:
    def __init__(self, users: UserStore, shards: Shards, settings: Serving, telemetry: Telemetry = SILENT) -> None:
        self._telemetry = telemetry
        self._breaker = Breaker()
        self._users = users
        self._shards = shards
        self.taste = Taste(settings.event_types, settings.taste_half_life)

    async def load(
        self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], dict[str, Floats], tuple[str, ...]]:
        """Profiles by user, vectors of the items, and the parts that did not answer.

        When Redis does not answer no profile is there, and `profiles` is among the missing parts.
        """
        missing: tuple[str, ...] = ()
        loaded: list[UserProfile | int] = []
        stale: dict[str, int] = {}
        histories: dict[str, list[Interaction]] = {}
        try:
            if user_ids and not self._breaker.allows():
                raise TimeoutError  # noqa: TRY301 - as late as it was the last times
            async with asyncio.timeout(budget_s / 2):
                loaded = await self._users.load(user_ids, serve.version, serve.space.unknown_user())
                stale = {u: p for u, p in zip(user_ids, loaded, strict=True) if isinstance(p, int)}
                histories = dict(zip(stale, await self._users.histories(list(stale)), strict=True)) if stale else {}
            if user_ids:
                self._breaker.record(answered=True)
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError):  # a quick refusal costs nobody anything
                self._breaker.record(answered=False)
            loaded, stale, histories, missing = [], {}, {}, ("profiles",)
        profiles = {u: p for u, p in zip(user_ids, loaded, strict=False) if isinstance(p, UserProfile)}
        hits = sum(profile.sequence > 0 for profile in profiles.values())
        self._telemetry.add("recsys_profiles_total", hits, result="hit")
        self._telemetry.add("recsys_profiles_total", len(profiles) - hits, result="new")
        self._telemetry.add("recsys_profiles_total", len(stale), result="rebuilt")
        self._telemetry.add("recsys_profiles_total", len(user_ids) - len(loaded), result="missing")
        needed = [*item_ids, *(e.item_id for h in histories.values() for e in h if self.taste.weight(e))]
        vectors, late = await self._shards.vectors(serve.version, needed, budget_s / 2) if needed else ({}, ())
        for user_id, sequence in stale.items():
            fresh = serve.space.unknown_user()
            profiles[user_id] = fold(fresh, histories[user_id], vectors, self.taste, sequence, serve.space)
        if stale and not late:  # a profile that lacks a shard's items is good for this answer only
            rebuilt = {u: (profiles[u], histories[u][-1]) for u in stale if histories[u]}
            await self._save(rebuilt, {u: h for u, h in histories.items() if u in rebuilt}, vectors, serve)
        return profiles, vectors, (*missing, *late)

    async def refresh(self, appended: dict[str, Appended], serve: Serve, budget_s: float) -> tuple[str, ...]:
        """Fold events that were just appended into the cached profiles, so that the next read finds them ready.

        What cannot be folded is rebuilt by the next read. Item ids of the events that no shard knows.
        """
        fresh = {u: a for u, a in appended.items() if a.fresh}
        items = dict.fromkeys(e.item_id for a in fresh.values() for e in a.fresh)
        if not items:
            return ()
        vectors, late = await self._shards.vectors(serve.version, items, budget_s)
        if late:
            return ()
        folded = {}
        for user_id, a in fresh.items():
            if a.profile is not None:
                events = sorted(a.fresh, key=in_order)
                profile = fold(a.profile, events, vectors, self.taste, a.sequence, serve.space)
                folded[user_id] = (profile, events[-1])
        await self._save(folded, {u: fresh[u].fresh for u in folded}, vectors, serve)
        return tuple(i for i in items if i not in vectors)

    async def _save(
        self,
        profiles: Mapping[str, tuple[UserProfile, Interaction]],
        events: Mapping[str, Sequence[Interaction]],
        vectors: Mapping[str, Floats],
        serve: Serve,
    ) -> None:
        """Cache profiles made of these events; one with a like of an item that is not there only for a moment."""
        lacking = {u for u in profiles if any(self.taste.weight(e) and e.item_id not in vectors for e in events[u])}
        try:
            for users, ttl_s in ((profiles.keys() - lacking, None), (lacking, _LACKING_TTL_S)):
                if users:
                    await self._users.save({u: profiles[u] for u in users}, serve.version, ttl_s)
        except (RedisError, OSError):
            return  # a cache: the next read rebuilds it
