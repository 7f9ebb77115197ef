"""Profiles of a batch of users: from the cache in one trip, rebuilt from the history where that is needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

from redis.exceptions import RedisError

from recsys.config.serving import Serving
from recsys.datatypes import Floats, Interaction, Keys, UserProfile
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.ranking.served_version import Serve
from recsys.serving.present_items import PresentItems
from recsys.serving.profile_rebuilding import Job, Rebuilder, lacking_ttl
from recsys.serving.profile_warming import Active, warm
from recsys.state.histories import ordered
from recsys.state.profile_cache import Stale
from recsys.state.users import Appended, UserStore
from recsys.telemetry import SILENT, Telemetry
from recsys.transport.breaker import Breaker
from recsys.transport.deadline import Deadline
from recsys.transport.shard_clients import Shards

_WORTH = 0.1
"""Share of a batch's stale users that must be done soon for the batch to wait for them: the others wait with them."""

FORGET_S = 6.0
"""Seconds between two looks for users who were erased. For ten thousand users a look takes about 20 ms of CPU, over a
second or two."""


class Loaded(NamedTuple):
    """What a batch needs of users and items."""

    profiles: dict[str, UserProfile]
    """By user id."""
    vectors: dict[str, Floats]
    """Item id -> (width,) float32 context."""
    missing: tuple[str, ...]
    """The parts that did not answer in time: `profiles`, and shards by name."""


class Profiles(Protocol):
    """Where the profiles of a batch come from."""

    async def load(self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float) -> Loaded:
        """Profiles of the users and contexts of the items, as far as they come within the budget."""

    def remembered(self, user_id: str, serve: Serve) -> UserProfile | None:
        """The profile that was loaded last for the user; None: none is remembered. It may be out of date. Where it is
        not, `load` returns the same object.
        """


class ProfileLoader:
    def __init__(
        self,
        users: UserStore,
        shards: Shards,
        settings: Serving,
        telemetry: Telemetry = SILENT,
        active: Active | None = None,
    ) -> None:
        """`active`: users who came lately, of a loader before this one; None: there was none."""
        self._telemetry = telemetry
        self._active = active or Active()
        self._breaker = Breaker()
        self._users = users
        self._shards = shards
        self.taste = Taste(settings.event_types, settings.taste_half_life)
        self.rebuilder = Rebuilder(users, shards, self.taste)
        self._present = PresentItems()

    async def load(self, user_ids: Sequence[str], item_ids: Sequence[str], serve: Serve, budget_s: float) -> Loaded:
        """Profiles of the users and contexts of the items.

        A user whose profile is not ready in time has one that is marked `stale`: what an older profile still tells, or
        nothing. When Redis does not answer there are no profiles. In both cases `profiles` is among the missing parts.

        Redis is asked for the profiles while the shards are for the items: a batch waits for the later answer only.
        """
        if not item_ids:  # nearly always
            profiles, missing = await self._profiles(user_ids, serve, budget_s)
            return Loaded(profiles, {}, missing)
        asking = self._shards.vectors(serve.version, item_ids, budget_s / 2)
        (profiles, missing), (vectors, lacking) = await asyncio.gather(
            self._profiles(user_ids, serve, budget_s), asking
        )
        return Loaded(profiles, vectors, tuple(dict.fromkeys((*missing, *lacking))))

    async def _profiles(
        self, user_ids: Sequence[str], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], tuple[str, ...]]:
        """Profiles by user id, and the parts that did not answer in time."""
        cached = await self._cached(user_ids, serve, budget_s / 2)
        profiles = {user: profile for user, profile in cached.items() if isinstance(profile, UserProfile)}
        stale = {user: rest for user, rest in cached.items() if isinstance(rest, Stale)}
        self._active.note(user for user, entry in cached.items() if entry.sequence)
        hits = sum(profile.sequence > 0 for profile in profiles.values())
        self._count(hit=hits, new=len(profiles) - hits, missing=len(user_ids) - len(cached))
        complete = len(cached) == len(user_ids)
        late: tuple[str, ...] = ()
        if stale:
            renewed, late = await self._renew(stale, serve, budget_s / 2)
            still_stale = sum(profile.stale for profile in renewed.values())
            self._count(rebuilt=len(stale) - still_stale, stale=still_stale)
            complete = complete and not still_stale
            profiles |= renewed
        return profiles, late if complete else ("profiles", *late)

    def remembered(self, user_id: str, serve: Serve) -> UserProfile | None:
        """See `Profiles.remembered`."""
        return self._users.profiles.remembered(user_id, serve.version, serve.space.unknown_user())

    async def seen(self, user_id: str, serve: Serve, budget_s: float) -> tuple[Keys, Sequence[str]]:
        """(n,) sorted keys of the items that a user has seen, and the parts that did not answer in time."""
        loaded = await self.load([user_id], (), serve, budget_s)
        profile = loaded.profiles.get(user_id) or serve.space.unknown_user()
        return profile.seen, loaded.missing

    async def _cached(self, user_ids: Sequence[str], serve: Serve, budget_s: float) -> dict[str, UserProfile | Stale]:
        """What Redis has of each user; empty when it does not answer, or was late the last times."""
        if not user_ids or not self._breaker.allows():
            return {}
        try:
            with Deadline(budget_s):
                cached = await self._users.profiles.load(user_ids, serve.version, serve.space.unknown_user())
        except TimeoutError:
            self._breaker.record(answered=False)
            return {}
        except (RedisError, OSError):  # a quick refusal costs nobody anything: the breaker is not told
            return {}
        self._breaker.record(answered=True)
        return dict(zip(user_ids, cached, strict=True))

    def _count(self, **profiles: int) -> None:
        """Count profiles by what came of loading them."""
        for result, number in profiles.items():
            if number:
                self._telemetry.add("recsys_profiles_total", number, result=result)

    async def warm(self, serve: Serve) -> None:
        """Make profiles of the users who came lately for a version that is about to be served."""
        await warm(self._active, self._users, self.rebuilder, serve)

    async def forget_gone(self) -> None:
        """Drop from memory what is known of users who were erased or have expired, whichever composer erased them.

        Raises RedisError and OSError.
        """
        self._active.drop(await self._users.profiles.drop_outdated(self._active.everyone()))

    async def _renew(
        self, stale: Mapping[str, Stale], serve: Serve, budget_s: float
    ) -> tuple[dict[str, UserProfile], tuple[str, ...]]:
        """Profiles of all these users, and the shards without which some were made.

        Each is taken from what was made before the version was served, or rebuilt while the batch waits where
        that will not take long. The others are rebuilt behind the batch, and have what an older profile still tells.
        """
        unknown = serve.space.unknown_user()
        waiting: dict[str, Job] = {}
        profiles: dict[str, UserProfile] = {}
        sequences = {user_id: rest.sequence for user_id, rest in stale.items()}
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(budget_s):
                profiles, lengths = await self._users.profiles.adopt_early(sequences, serve.version, unknown)
                for user_id in sorted(stale.keys() - profiles.keys(), key=lengths.__getitem__):
                    job = self.rebuilder.ask(user_id, sequences[user_id], lengths[user_id], serve)
                    if job is not None and self.rebuilder.soon(job, budget_s / 2):
                        waiting[user_id] = job
                if len(waiting) > _WORTH * (len(stale) - len(profiles)):
                    await asyncio.wait([job.done for job in waiting.values()])
        results = {u: job.done.result() for u, job in waiting.items() if job.done.done() and not job.done.cancelled()}
        rebuilt = {u: result for u, result in results.items() if result is not None}
        profiles |= {u: result.profile for u, result in rebuilt.items()}
        profiles |= {u: rest.remains(unknown) for u, rest in stale.items() if u not in profiles}
        return profiles, tuple(dict.fromkeys(shard for result in rebuilt.values() for shard in result.late))

    async def refresh(
        self, appended: Mapping[str, Appended], folding: AbstractSet[str], serve: Serve, budget_s: float
    ) -> tuple[str, ...]:
        """Fold events that were just appended into the cached profiles of the users in `folding`, so that the next read
        finds them ready.

        What cannot be folded is rebuilt by the next read. Return the item ids of the events that no shard knows; of
        users who are not in `folding`, items that were there two seconds ago count as known.
        """
        fresh = {u: a for u, a in appended.items() if a.fresh}
        self._users.profiles.outdate(fresh)
        items = dict.fromkeys(e.item_id for u, a in fresh.items() if u in folding for e in a.fresh)
        others = dict.fromkeys(e.item_id for u, a in fresh.items() if u not in folding for e in a.fresh)
        items |= dict.fromkeys(self._present.unsure(serve.version, others))
        if not items:
            return ()
        vectors, late = await self._shards.vectors(serve.version, items, budget_s)
        if late:
            return ()
        self._present.note(serve.version, vectors)
        folded: dict[int | None, dict[str, tuple[UserProfile, Interaction]]] = {}
        for user_id, a in fresh.items():
            if a.profile is None or user_id not in folding:
                continue
            events = ordered(a.fresh)
            profile = fold(a.profile, events, vectors, self.taste, a.sequence, serve.space)
            if profile is not None:
                lacking = {e.item_id for e in events if e.item_id not in vectors and self.taste.weight(e)}
                folded.setdefault(lacking_ttl(events, lacking), {})[user_id] = (profile, events[-1])
        with contextlib.suppress(RedisError, OSError):  # a cache: the next read rebuilds it
            for ttl_s, some in folded.items():
                await self._users.profiles.save(some, serve.version, ttl_s)
        return tuple(i for i in items if i not in vectors)
