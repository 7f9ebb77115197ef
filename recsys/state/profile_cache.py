"""Users' profiles as Redis caches them, beside the histories that they are made of.

A cached profile is one value, see `profile_codec.py`. It is valid while its sequence is the user's, its version the one
asked for and its settings those of today, so it needs no deletion when one of them moves on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs
from redis.asyncio import Redis

from recsys.datatypes import Interaction, UserProfile
from recsys.state import redis_keys
from recsys.state.decoded_profiles import DecodedProfiles
from recsys.state.histories import in_order
from recsys.state.lua_calls import Call, run_many
from recsys.state.profile_codec import Cached, decode, encode, remains
from recsys.state.user_scripts import ADOPT, SAVE

PAGE = 100
"""Users whose sequences are read in one trip by `drop_outdated`: less than a millisecond of the event loop."""
_PAUSES = 5.0
"""Its pauses between two trips, in the time that a trip takes. Requests would wait for ten thousand users in one go."""
_PAUSES_S = 3.0
"""Seconds that they take together at the most: with `FORGET_S` between two looks, who is erased has left the memory
within ten."""
_EARLY_TTL_S = 900
"""Seconds for which a profile of a version that is about to be served is kept beside that of the served one."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A user whose cached profile does not contain the whole history."""

    sequence: int
    """What the history stands at."""
    blob: bytes | None
    """What is cached; None: nothing."""

    def remains(self, unknown: UserProfile) -> UserProfile:
        """What the cached profile still tells, marked `stale`."""
        left = None if self.blob is None else remains(self.blob, unknown)
        return structs.replace(unknown, stale=True) if left is None else left


class ProfileCache:
    """`unknown` is everywhere the profile of a user without events; the others of a version have vectors as long."""

    def __init__(self, redis: Redis, *, ttl_s: int, settings: bytes) -> None:
        """`ttl_s`: seconds that an unused profile stays cached. `settings`: see `Taste.fingerprint`."""
        self._redis = redis
        self._ttl_s = ttl_s
        self._settings = settings
        self._decoded = DecodedProfiles()
        self._save = redis.register_script(SAVE)
        self._adopt = redis.register_script(ADOPT)

    async def load(self, user_ids: Sequence[str], version: str, unknown: UserProfile) -> list[UserProfile | Stale]:
        """A profile of each user, or what is left of it where it has to be made anew; one round trip."""
        if not user_ids:
            return []
        keys = [key for u in user_ids for key in (redis_keys.sequence(u), redis_keys.profile(u))]
        values: list[Any] = await self._redis.mget(keys)
        loaded: list[UserProfile | Stale] = []
        for user_id, stored_sequence, blob in zip(user_ids, values[::2], values[1::2], strict=True):
            sequence = int(stored_sequence or 0)
            if not sequence:
                loaded.append(unknown)
                continue
            cached = self._decoded.get(user_id, blob, version, unknown)
            if cached is None and (cached := self._decode(blob, version, unknown)) is not None:
                self._decoded.put(user_id, blob, version, unknown, cached)
            current = cached is not None and cached.profile.sequence == sequence
            loaded.append(cached.profile if cached is not None and current else Stale(sequence, blob))
        return loaded

    def remembered(self, user_id: str, version: str, unknown: UserProfile) -> UserProfile | None:
        """The profile that `load` returned last for the user, if it was decoded for this version; None: there is none.

        It may be out of date. Where it is not, `load` returns the same object.
        """
        return self._decoded.last(user_id, version, unknown)

    def outdate(self, user_ids: Iterable[str]) -> None:
        """Forget the decoded profiles of users who have new events."""
        for user_id in user_ids:
            self._decoded.drop(user_id)

    async def drop_outdated(self, others: Iterable[str] = ()) -> list[str]:
        """Forget the decoded profiles that are not of the user's sequence of now: they are never answered with again.

        So what was known of a user leaves this process although another one erased the user. Return those of the users
        with decoded profiles, and of the `others`, who have no history in Redis. Raises RedisError and OSError.
        """
        remembered = self._decoded.sequences()
        gone: list[str] = []
        users = list({**dict.fromkeys(others), **remembered})
        for first in range(0, len(users), PAGE):
            page, began = users[first : first + PAGE], time.monotonic()
            stored: list[Any] = await self._redis.mget([redis_keys.sequence(user_id) for user_id in page])
            for user_id, sequence in zip(page, stored, strict=True):
                if user_id in remembered and int(sequence or 0) != remembered[user_id]:
                    self._decoded.drop_of(user_id, remembered[user_id])
                if sequence is None:
                    gone.append(user_id)
            if first + PAGE < len(users):
                await asyncio.sleep(min((time.monotonic() - began) * _PAUSES, _PAUSES_S * PAGE / len(users)))
        return gone

    async def adopt_early(
        self, sequences: Mapping[str, int], version: str, unknown: UserProfile
    ) -> tuple[dict[str, UserProfile], dict[str, int]]:
        """Take over the profiles that were made before the version was served, where they are of these sequences.

        They are cached like all others from now on. Return them, and how many events each of the users has.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user_id in sequences:
            pipe.get(redis_keys.early(user_id))
            pipe.hlen(redis_keys.events(user_id))
        answers: list[Any] = await pipe.execute()
        profiles: dict[str, UserProfile] = {}
        calls: list[Call] = []
        for (user_id, sequence), blob in zip(sequences.items(), answers[::2], strict=True):
            cached = self._decode(blob, version, unknown)
            if cached is not None and cached.profile.sequence == sequence:
                profiles[user_id] = cached.profile
                keys = [key_of(user_id) for key_of in (redis_keys.sequence, redis_keys.early, redis_keys.profile)]
                calls.append((keys, [sequence, self._ttl_s]))
        await run_many(self._redis, self._adopt, calls)
        return profiles, dict(zip(sequences, answers[1::2], strict=True))

    async def without_early(
        self, user_ids: Sequence[str], version: str, unknown: UserProfile
    ) -> dict[str, tuple[int, int]]:
        """Of the users who have events those without a profile for a version that is about to be served.

        Each with the sequence that the history stands at, and how many events it has.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.get(redis_keys.sequence(user_id))
            pipe.get(redis_keys.early(user_id))
            pipe.hlen(redis_keys.events(user_id))
        answers: list[Any] = await pipe.execute()
        lacking = {}
        for user_id, sequence, blob, events in zip(user_ids, answers[::3], answers[1::3], answers[2::3], strict=True):
            cached = self._decode(blob, version, unknown)
            if sequence is not None and (cached is None or cached.profile.sequence != int(sequence)):
                lacking[user_id] = (int(sequence), events)
        return lacking

    async def save(
        self,
        profiles: Mapping[str, tuple[UserProfile, Interaction]],
        version: str,
        ttl_s: int | None = None,
        *,
        early: bool = False,
    ) -> None:
        """Cache profiles, each with its newest event; dropped where the history has moved on.

        `ttl_s`: seconds until they expire; None: as long as profiles stay cached. `early`: beside those of the version
        that is served.
        """
        key_of, longest_s = (redis_keys.early, _EARLY_TTL_S) if early else (redis_keys.profile, self._ttl_s)
        calls: list[Call] = []
        for user_id, (profile, newest) in profiles.items():
            blob = encode(profile, newest, version, self._settings)
            keys = [redis_keys.sequence(user_id), key_of(user_id)]
            calls.append((keys, [profile.sequence, blob, min(ttl_s or longest_s, longest_s)]))
        await run_many(self._redis, self._save, calls)

    def foldable(
        self, blob: bytes, before: int, fresh: Sequence[Interaction], version: str, unknown: UserProfile
    ) -> UserProfile | None:
        """The profile in `blob` when the fresh events can be added to it.

        It must be of the sequence `before` them, and none of them may be older than its newest event. None otherwise,
        and where there is no fresh event.
        """
        if not fresh:
            return None
        if not before:
            return unknown
        cached = self._decode(blob, version, unknown)
        if cached is None or cached.profile.sequence != before or min(map(in_order, fresh)) < cached.newest:
            return None
        return cached.profile

    def _decode(self, blob: bytes | None, version: str, unknown: UserProfile) -> Cached | None:
        return decode(blob, version, self._settings, unknown) if blob else None
