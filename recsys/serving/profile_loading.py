"""Profiles of a batch of users: from the cache in one trip, rebuilt from the history where that is needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from redis.exceptions import RedisError

from recsys.config import Serving
from recsys.datatypes import Floats, Interaction, UserProfile
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.ranking.served_version import Serve
from recsys.serving.profile_rebuilding import Job, Rebuilder, lacking_ttl
from recsys.serving.profile_warming import Active, warm
from recsys.state.histories import in_order
from recsys.state.users import Appended, Stale, UserStore
from recsys.telemetry import SILENT, Telemetry
from recsys.transport.breaker import Breaker
from recsys.transport.shard_clients import Shards

_WORTH = 0.1
"""Share of a batch's stale users that must be done soon for the batch to wait for them: the others wait with them."""


class Profiles(Protocol):
    """Where the profiles of a batch come from."""

    async def load(
        self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], dict[str, Floats], tuple[str, ...]]:
        """Profiles by user, contexts of the items, and the parts that did not answer."""


class ProfileLoader:
    def __init__(
        self,
        users: UserStore,
        shards: Shards,
        settings: Serving,
        telemetry: Telemetry = SILENT,
        active: Active | None = None,
    ) -> None:
        """`active`: users who came lately, as far as it is known already."""
        self._telemetry = telemetry
        self._active = active or Active()
        self._breaker = Breaker()
        self._users = users
        self._shards = shards
        self.taste = Taste(settings.event_types, settings.taste_half_life)
        self.rebuilder = Rebuilder(users, shards, self.taste)

    async def load(
        self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], dict[str, Floats], tuple[str, ...]]:
        """Profiles by user, vectors of the items, and the parts that did not answer.

        A user whose profile is not ready in time has one that is marked `stale`: what an older profile still tells, or
        nothing. When Redis does not answer no profile is there. In both cases `profiles` is among the missing parts.
        """
        missing: tuple[str, ...] = ()
        loaded: list[UserProfile | Stale] = []
        late: tuple[str, ...] = ()
        vectors: dict[str, Floats] = {}
        try:
            if user_ids and not self._breaker.allows():
                raise TimeoutError  # noqa: TRY301 - as late as it was the last times
            async with asyncio.timeout(budget_s / 2):
                loaded = await self._users.load(user_ids, serve.version, serve.space.unknown_user())
            if user_ids:
                self._breaker.record(answered=True)
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError):  # a quick refusal costs nobody anything
                self._breaker.record(answered=False)
            missing = ("profiles",)
        profiles = {u: p for u, p in zip(user_ids, loaded, strict=False) if isinstance(p, UserProfile)}
        self._active.note(u for u, p in zip(user_ids, loaded, strict=False) if isinstance(p, Stale) or p.sequence)
        hits = sum(profile.sequence > 0 for profile in profiles.values())
        self._telemetry.add("recsys_profiles_total", hits, result="hit")
        self._telemetry.add("recsys_profiles_total", len(profiles) - hits, result="new")
        self._telemetry.add("recsys_profiles_total", len(user_ids) - len(loaded), result="missing")
        stale = {u: p for u, p in zip(user_ids, loaded, strict=False) if isinstance(p, Stale)}
        if stale:
            made, late = await self._renew(stale, serve, budget_s / 2)
            profiles |= made
            old = sum(profile.stale for profile in made.values())
            self._telemetry.add("recsys_profiles_total", len(stale) - old, result="rebuilt")
            self._telemetry.add("recsys_profiles_total", old, result="stale")
            missing = ("profiles",) if old else missing
        if item_ids:
            vectors, lacking = await self._shards.vectors(serve.version, item_ids, budget_s / 2)
            late = tuple(dict.fromkeys((*late, *lacking)))
        return profiles, vectors, (*missing, *late)

    async def warm(self, serve: Serve) -> None:
        """Make profiles of the users who came lately for a version that is about to be served."""
        await warm(self._active, self._users, self.rebuilder, serve)

    async def _renew(
        self, stale: Mapping[str, Stale], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], tuple[str, ...]]:
        """Profiles of all these users, and the shards without which some were made. `stale` are their sequences.

        Each is taken from what was made before the version was served, or rebuilt while the batch waits where
        that will not take long. The others are rebuilt behind the batch, and have what an older profile still tells.
        """
        unknown = serve.space.unknown_user()
        waiting: dict[str, Job] = {}
        profiles: dict[str, UserProfile] = {}
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(budget_s):
                profiles, lengths = await self._users.standby(stale, serve.version, unknown)
                for user_id in sorted(stale.keys() - profiles.keys(), key=lengths.__getitem__):
                    job = self.rebuilder.ask(user_id, stale[user_id], lengths[user_id], serve)
                    if job is not None and self.rebuilder.soon(job, budget_s / 2):
                        waiting[user_id] = job
                if len(waiting) > _WORTH * (len(stale) - len(profiles)):
                    await asyncio.wait([job.done for job in waiting.values()])
        made = {u: job.done.result() for u, job in waiting.items() if job.done.done() and not job.done.cancelled()}
        rebuilt = {u: result for u, result in made.items() if result is not None}
        profiles |= {u: result.profile for u, result in rebuilt.items()}
        profiles |= {u: left.remains(unknown) for u, left in stale.items() if u not in profiles}
        return profiles, tuple(dict.fromkeys(shard for result in rebuilt.values() for shard in result.late))

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
        folded: dict[int | None, dict[str, tuple[UserProfile, Interaction]]] = {}
        for user_id, a in fresh.items():
            if a.profile is None:
                continue
            events = sorted(a.fresh, key=in_order)
            profile = fold(a.profile, events, vectors, self.taste, a.sequence, serve.space)
            if profile is not None:
                lacking = {e.item_id for e in events if e.item_id not in vectors and self.taste.weight(e)}
                folded.setdefault(lacking_ttl(events, lacking), {})[user_id] = (profile, events[-1])
        with contextlib.suppress(RedisError, OSError):  # a cache: the next read rebuilds it
            for ttl_s, some in folded.items():
                await self._users.save(some, serve.version, ttl_s)
        return tuple(i for i in items if i not in vectors)
