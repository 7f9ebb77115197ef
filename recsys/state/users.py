"""What is known of users, in Redis: the history is the truth, the profile a cache of it.

A cached profile is one value, see `profile_codec.py`. It is valid while its sequence is the user's, its version the one
asked for and its settings those of today, so it needs no deletion when one of them moves on.

An event_id counts once within the history. Events as old as those that have left it are not taken any more, for nobody
could say whether they were counted; the same holds for a user who was erased, up to that moment.

A user's keys expire together when no event of the user comes for `user_ttl_s` seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs
from redis.asyncio import Redis

from recsys.datatypes import Interaction, UserProfile
from recsys.state import redis_keys
from recsys.state.histories import StoredEvent, StoredHistory, in_order, write_event
from recsys.state.item_counts import grain
from recsys.state.lua_calls import Call, run_many
from recsys.state.profile_codec import decode, encode, remains
from recsys.state.user_scripts import ADOPT, APPEND, ERASE, SAVE

_EARLY_TTL_S = 900
"""Seconds for which a profile of a version that is about to be served is kept beside that of the served one."""

_FLOOR_TTL_S = 400 * 86_400
"""Seconds for which an erased user's old events are refused, where users' keys live for ever."""

MICROSECOND = 1e-6
"""Seconds between events of one call that came without a time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An event with the like that it is of its item; `weight` 0: a word against it. `feed`: see `Router.feed`."""

    event: Interaction
    weight: float
    feed: int = 0
    timed: bool = True
    """Whether the time is the caller's; False: the platform's, which may be moved behind the user's erasure."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did to one user. `profile` is the one before it, still to be folded; None: rebuild it."""

    fresh: tuple[Interaction, ...]
    """Events that were not there before this call, in the order given."""
    too_old: tuple[Interaction, ...]
    """Events not taken: as old as what has left the history, or from before the user was erased."""
    sequence: int
    profile: UserProfile | None


class Stale(int):
    """The sequence that a user's history stands at, where no cached profile contains it all."""

    blob: bytes | None = None
    """What is cached."""

    def remains(self, unknown: UserProfile) -> UserProfile:
        """What the cached profile still tells, marked `stale`."""
        left = None if self.blob is None else remains(self.blob, unknown)
        return structs.replace(unknown, stale=True) if left is None else left


class UserStore:
    """`ttl_s`: seconds that an unused profile stays cached. `history`: events kept of each user. `user_ttl_s`: seconds
    after the last event in which a user's keys expire; None: never. `settings`: what profiles are made with, see
    `Taste.fingerprint`. `trend_half_life_s`: seconds in which half of a trend fades.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_s: int,
        history: int,
        user_ttl_s: int | None = None,
        settings: bytes = bytes(8),
        trend_half_life_s: float = 86_400.0,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._ttl_s = ttl_s
        self._history = history
        self._user_ttl_s = user_ttl_s
        self._counting = [repr(float(trend_half_life_s)), redis_keys.count(""), redis_keys.touched("")]
        self._append = redis.register_script(APPEND)
        self._save = redis.register_script(SAVE)
        self._adopt = redis.register_script(ADOPT)
        self._erase = redis.register_script(ERASE)

    async def load(self, user_ids: Sequence[str], version: str, unknown: UserProfile) -> list[UserProfile | Stale]:
        """One round trip. A profile each; where it must be rebuilt, the sequence that the history stands at.

        `unknown` is the profile of whom nothing is known; the version's others have vectors of the same lengths.
        """
        if not user_ids:
            return []
        values: list[Any] = await self._redis.mget(
            [k for u in user_ids for k in (redis_keys.sequence(u), redis_keys.profile(u))]
        )
        loaded: list[UserProfile | Stale] = []
        for at, blob in zip(values[::2], values[1::2], strict=True):
            sequence = int(at or 0)
            if not sequence:
                loaded.append(unknown)
                continue
            known = decode(blob, version, self._settings, unknown) if blob else None
            if known and known[0].sequence == sequence:
                loaded.append(known[0])
            else:
                stale = Stale(sequence)
                stale.blob = blob
                loaded.append(stale)
        return loaded

    async def standby(
        self, sequences: Mapping[str, int], version: str, unknown: UserProfile
    ) -> tuple[dict[str, UserProfile], dict[str, int]]:
        """The profiles that were made before the version was served, which are cached from now on; and how many events
        each user has.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user_id in sequences:
            pipe.get(redis_keys.early(user_id))
            pipe.hlen(redis_keys.events(user_id))
        answers: list[Any] = await pipe.execute()
        ready, adopted = {}, []
        for (user_id, sequence), blob in zip(sequences.items(), answers[::2], strict=True):
            known = decode(blob, version, self._settings, unknown) if blob else None
            if known is not None and known[0].sequence == sequence:
                ready[user_id] = known[0]
                own = [make(user_id) for make in (redis_keys.sequence, redis_keys.early, redis_keys.profile)]
                adopted.append((own, [sequence, self._ttl_s]))
        await run_many(self._redis, self._adopt, adopted)
        return ready, dict(zip(sequences, answers[1::2], strict=True))

    async def unprepared(
        self, user_ids: Sequence[str], version: str, unknown: UserProfile
    ) -> dict[str, tuple[int, int]]:
        """Of the users who have events those without a profile for a version that is about to be served: the sequence
        and the number of events.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.get(redis_keys.sequence(user_id))
            pipe.get(redis_keys.early(user_id))
            pipe.hlen(redis_keys.events(user_id))
        answers: list[Any] = await pipe.execute()
        lacking = {}
        for user_id, sequence, blob, events in zip(user_ids, answers[::3], answers[1::3], answers[2::3], strict=True):
            known = decode(blob, version, self._settings, unknown) if blob else None
            if sequence is not None and (known is None or known[0].sequence != int(sequence)):
                lacking[user_id] = (int(sequence), events)
        return lacking

    async def stored(self, user_ids: Sequence[str]) -> list[StoredHistory]:
        """The users' histories, which are still to be read: that is better done off the event loop."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.get(
                redis_keys.sequence(user_id)
            )  # first: an event in between is in the history and not in the sequence
            pipe.hgetall(redis_keys.events(user_id))
            pipe.exists(redis_keys.floor(user_id))
        found: list[Any] = await pipe.execute()
        rows = zip(user_ids, found[::3], found[1::3], found[2::3], strict=True)
        return [
            StoredHistory(user_id, int(sequence or 0), fields, bool(floor) and len(fields) >= self._history)
            for user_id, sequence, fields, floor in rows
        ]

    async def histories(self, user_ids: Sequence[str]) -> list[list[Interaction]]:
        """Oldest first; events of the same moment as `histories.in_order` says."""
        stored = await self.stored(user_ids)
        return await asyncio.to_thread(lambda: [one.events() for one in stored])

    async def everyone(self, at_a_time: int = 500) -> AsyncIterator[tuple[int, list[list[Interaction]]]]:
        """All users' histories, some at a time, with how many users there have been; who comes meanwhile may miss."""
        done, page = 0, []
        async for key in self._redis.scan_iter(match=redis_keys.events("*"), count=1000):
            page.append(redis_keys.user_of(key))
            if len(page) == at_a_time:
                done += len(page)
                yield done, await self.histories(page)
                page = []
        if page:
            yield done + len(page), await self.histories(page)

    async def append(
        self, events: Mapping[str, Sequence[Counted]], version: str, unknown: UserProfile
    ) -> dict[str, Appended]:
        """Add events by user, each once by its event_id; one round trip for all users.

        When the answer to a try is lost and Redis is asked again, what the lost try has added counts as fresh. One more
        trip is made for events whose time is the platform's when it lies before the user's floor, which Redis' clock
        set: they are given the moment right behind it.
        """
        events = {u: list({c.event.event_id: c for c in reversed(given)}.values())[::-1] for u, given in events.items()}
        done = await self._appended(events, version, unknown)
        behind = {u: late for u, (_, late) in done.items() if late}
        again = await self._appended(behind, version, unknown) if behind else {}
        for user_id, (second, _) in again.items():
            first = done[user_id][0]
            fresh, retimed = (*first.fresh, *second.fresh), {c.event.event_id for c in behind[user_id]}
            too_old = tuple(e for e in first.too_old if e.event_id not in retimed) + second.too_old
            profile = second.profile if not first.fresh else None
            done[user_id] = Appended(fresh, too_old, second.sequence, profile), ()
        return {u: appended for u, (appended, _) in done.items()}

    async def _appended(
        self, events: Mapping[str, Sequence[Counted]], version: str, unknown: UserProfile
    ) -> dict[str, tuple[Appended, Sequence[Counted]]]:
        """What became of each user's events, and those to be sent again with a later time."""
        calls: list[Call] = []
        call = secrets.token_urlsafe(6)
        for user_id, counted in events.items():
            args: list[str | bytes | float] = [self._history, self._user_ttl_s or 0, f'"{call}"]', *self._counting]
            for c in counted:
                e = c.event
                document = write_event(StoredEvent(e.item_id, e.type, e.timestamp, e.value, e.request_id, call))
                args += [e.event_id, repr(e.timestamp), document, e.item_id, repr(grain(c.weight)), c.feed]
            calls.append((_own(user_id), args))
        done: dict[str, tuple[Appended, Sequence[Counted]]] = {}
        answers = await run_many(self._redis, self._append, calls)
        for (user_id, counted), answer in zip(events.items(), answers, strict=True):
            fresh, old, floor, before, after, blob, foldable = answer
            added = tuple(counted[int(i)].event for i in fresh)
            too_old = tuple(counted[int(i)].event for i in old)
            profile = self._foldable(blob, int(before), added, version, unknown) if foldable else None
            late = _behind([counted[int(i)] for i in old if not counted[int(i)].timed], floor)
            done[user_id] = Appended(added, too_old, int(after), profile), late
        return done

    def _foldable(
        self, blob: bytes, before: int, fresh: Sequence[Interaction], version: str, unknown: UserProfile
    ) -> UserProfile | None:
        """The profile that the new events can be added to: of the sequence before them, and none of them late."""
        if not fresh:
            return None
        if not before:
            return unknown
        known = decode(blob, version, self._settings, unknown) if blob else None
        if known is None or known[0].sequence != before or min(map(in_order, fresh)) < known[1]:
            return None
        return known[0]

    async def save(
        self,
        profiles: Mapping[str, tuple[UserProfile, Interaction]],
        version: str,
        ttl_s: int | None = None,
        *,
        early: bool = False,
    ) -> None:
        """Cache profiles, each with its newest event; dropped where the history has moved on.

        `ttl_s`: seconds until they expire; None: the store's. `early`: beside those of the version that is served.
        """
        key, kept_s = (redis_keys.early, _EARLY_TTL_S) if early else (redis_keys.profile, self._ttl_s)
        calls: list[Call] = []
        for user_id, (profile, newest) in profiles.items():
            blob = encode(profile, newest, version, self._settings)
            own = [redis_keys.sequence(user_id), key(user_id)]
            calls.append((own, [profile.sequence, blob, min(ttl_s or kept_s, kept_s)]))
        await run_many(self._redis, self._save, calls)

    async def erase(self, user_id: str) -> int:
        """Forget a user: history, cache, and what the likes added to items. How many events went.

        Events of before this moment that are sent again, by a retry or an import, are not taken for `user_ttl_s`
        seconds, 400 days where that is None.
        """
        ttl_s = self._user_ttl_s or _FLOOR_TTL_S
        return int(await self._erase(keys=[*_own(user_id), redis_keys.early(user_id)], args=[ttl_s, *self._counting]))


def _own(user_id: str) -> list[redis_keys.Key]:
    """The keys of a user, in the scripts' order."""
    own = (
        redis_keys.events,
        redis_keys.order,
        redis_keys.sequence,
        redis_keys.profile,
        redis_keys.floor,
        redis_keys.counted,
    )
    return [*(make(user_id) for make in own), redis_keys.SEQUENCES]


def _behind(late: Sequence[Counted], floor: bytes) -> list[Counted]:
    """The same events, in the same order, at the first moments after the floor."""
    return [
        replace(c, event=replace(c.event, timestamp=float(floor) + n * MICROSECOND))
        for n, c in enumerate(late, start=1)
    ]
