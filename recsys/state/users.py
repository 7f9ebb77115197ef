"""Users' histories in Redis. They are the truth; the profiles are a cache of them, see `profile_cache.py`.

An event_id counts once within the history. Events as old as those that have left it are refused, for nobody could say
whether they were counted. So are events from before the moment at which the user was erased.

A user's keys expire together when no event of the user comes for `user_ttl_s` seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from msgspec import structs
from redis.asyncio import Redis

from recsys.config.scenarios import Segments
from recsys.datatypes import Interaction, UserProfile
from recsys.state import redis_keys
from recsys.state.histories import StoredEvent, StoredHistory, write_event
from recsys.state.item_counts import grain
from recsys.state.lua_calls import Call, run_many
from recsys.state.packed_ids import pack_id
from recsys.state.profile_cache import ProfileCache
from recsys.state.slate_columns import encode_outcome
from recsys.state.slate_log import SlateLog, fresh_token
from recsys.state.user_scripts import APPEND, ERASE, FORGET

_FLOOR_TTL_S = 400 * 86_400
"""Seconds for which an erased user's old events are refused, where users' keys live for ever."""

_OUTCOMES = (redis_keys.OUTCOMES, redis_keys.waiting(redis_keys.OUTCOMES))

MICROSECOND = 1e-6
"""Seconds between events of one user that are moved behind the user's erasure."""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """An event with its weight as a like; 0: it is a word against the item. `feed`: see `routing.feed_of`."""

    event: Interaction
    weight: float
    feed: int = 0
    timed: bool = True
    """Whether the time is the caller's; False: the platform's, which may be moved behind the user's erasure."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did to one user. `profile` is the one before it, which the events are to be folded into; None: the
    profile has to be rebuilt.
    """

    fresh: tuple[Interaction, ...]
    """Events that were not there before this call, in the order given."""
    too_old: tuple[Interaction, ...]
    """Events not taken: as old as what has left the history, or from before the user was erased."""
    sequence: int
    profile: UserProfile | None


class UserStore:
    """`ttl_s`: seconds that an unused profile stays cached. `history`: events kept of each user. `user_ttl_s`: seconds
    after the last event in which a user's keys expire; None: never. `settings`: what profiles are made with, see
    `Taste.fingerprint`. `trend_half_life_s`: seconds in which half of a trend fades. `log`: where events that name an
    answer are logged; None: nowhere. `segments`: by what popularity is counted beside all users'; None: by nothing.
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
        log: SlateLog | None = None,
        segments: Segments | None = None,
    ) -> None:
        self.profiles = ProfileCache(redis, ttl_s=ttl_s, settings=settings)
        self._redis = redis
        self._history = history
        self._user_ttl_s = user_ttl_s
        spec = b""
        if segments is not None and segments.attribute is not None:
            spec = orjson.dumps([segments.attribute, segments.most, segments.items])
        self._segmented = bool(spec)
        prefixes = (redis_keys.count(""), redis_keys.touched(""))
        self._counting: list[str | bytes] = [repr(float(trend_half_life_s)), *prefixes, spec]
        self._log = log
        self._append = redis.register_script(APPEND)
        self._erase = redis.register_script(ERASE)
        self._forget = redis.register_script(FORGET)

    async def stored(self, user_ids: Sequence[str]) -> list[StoredHistory]:
        """The users' histories as stored. Parse them off the event loop: `StoredHistory.events` takes milliseconds."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            # The sequence first: an event in between is in the history and not in the sequence.
            pipe.get(redis_keys.sequence(user_id))
            pipe.hgetall(redis_keys.events(user_id))
            pipe.exists(redis_keys.floor(user_id))
        answers: list[Any] = await pipe.execute()
        rows = zip(user_ids, answers[::3], answers[1::3], answers[2::3], strict=True)
        return [
            StoredHistory(user_id, int(sequence or 0), fields, bool(floor) and len(fields) >= self._history)
            for user_id, sequence, fields, floor in rows
        ]

    async def histories(self, user_ids: Sequence[str]) -> list[list[Interaction]]:
        """Each user's events, oldest first; those of the same moment in the order of `histories.in_order`."""
        stored = await self.stored(user_ids)
        return await asyncio.to_thread(lambda: [one.events() for one in stored])

    async def ids(self) -> AsyncIterator[str]:
        """Yield the users who have a history. One may come twice, and one who comes during the scan may be missing."""
        async for key in self._redis.scan_iter(match=redis_keys.events("*"), count=1000):
            yield redis_keys.user_of(key)

    async def everyone(self, at_a_time: int = 500) -> AsyncIterator[tuple[int, list[list[Interaction]]]]:
        """Yield users' histories in pages, with the number of users so far.

        Users who come during the scan may be missing.
        """
        done, page = 0, []
        async for user_id in self.ids():
            page.append(user_id)
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

        When an answer is lost and the call is made again, the events that the first try added count as fresh. Events
        whose time is the platform's may lie before the user's floor, which Redis' clock set. They are given the moments
        right behind it, in one more trip.
        """
        events = {u: _once_each(counted) for u, counted in events.items()}
        outcomes = await self._append_once(events, version, unknown)
        appended = {u: outcome for u, (outcome, _) in outcomes.items()}
        retimed = {u: later for u, (_, later) in outcomes.items() if later}
        if retimed:
            for user_id, (second, _) in (await self._append_once(retimed, version, unknown)).items():
                appended[user_id] = _both(appended[user_id], second, {c.event.event_id for c in retimed[user_id]})
        return appended

    async def _append_once(
        self, events: Mapping[str, Sequence[Counted]], version: str, unknown: UserProfile
    ) -> dict[str, tuple[Appended, Sequence[Counted]]]:
        """One trip: the outcome of each user, and the events that have to be sent again with a later time."""
        calls: list[Call] = []
        call, log = secrets.token_urlsafe(6), self._log
        head: list[str | bytes | float] = [self._history, self._user_ttl_s or 0, call, *self._counting]
        for user_id, counted in events.items():
            args = [*head, b"", 0, 0] if log is None else [*head, fresh_token(), log.token_s, log.most]
            for c in counted:
                e = c.event
                request = None if e.request_id is None else pack_id(e.request_id)
                document = write_event(StoredEvent(e.item_id, e.timestamp, e.type, e.value, request, call))
                line = b"" if log is None or e.request_id is None else encode_outcome(e)
                args += [
                    pack_id(e.event_id),
                    repr(e.timestamp),
                    document,
                    e.item_id,
                    repr(grain(c.weight)),
                    c.feed,
                    line,
                ]
            keys = [*_keys_of(user_id), redis_keys.token(user_id), *_OUTCOMES, *self._segment_keys(user_id)]
            calls.append((keys, args))
        outcomes: dict[str, tuple[Appended, Sequence[Counted]]] = {}
        answers = await run_many(self._redis, self._append, calls)
        for (user_id, counted), answer in zip(events.items(), answers, strict=True):
            fresh, old, floor, before, after, blob, foldable = answer
            added = tuple(counted[int(i)].event for i in fresh)
            too_old = tuple(counted[int(i)].event for i in old)
            profile = self.profiles.foldable(blob, int(before), added, version, unknown) if foldable else None
            later = _behind([counted[int(i)] for i in old if not counted[int(i)].timed], floor)
            outcomes[user_id] = Appended(added, too_old, int(after), profile), later
        return outcomes

    async def erase(self, user_id: str) -> int:
        """Forget a user: history, cache, what the likes added to items, and the token that stands for the user in the
        log of answers. Return how many events were removed.

        Events of before this moment that are sent again, by a retry or an import, are not taken for `user_ttl_s`
        seconds, 400 days where that is None.
        """
        ttl_s = self._user_ttl_s or _FLOOR_TTL_S
        keys = [*_keys_of(user_id), redis_keys.early(user_id), redis_keys.token(user_id), *self._segment_keys(user_id)]
        return int(await self._erase(keys=keys, args=[ttl_s, *self._counting]))

    async def forget(self, user_id: str, event_id: str, counted: Callable[[Interaction], Counted]) -> bool:
        """Delete one event, and take back what it added to its item. False: there is no such event.

        `counted` says what an event counts for. An event that is sent again afterwards counts again.
        """
        while True:
            history = (await self.stored([user_id]))[0]
            events = await asyncio.to_thread(history.events)
            gone = next((event for event in events if event.event_id == event_id), None)
            if gone is None:
                return False
            others = [counted(e) for e in events if e.item_id == gone.item_id and e.event_id != event_id]
            keys = [*_keys_of(user_id), *self._segment_keys(user_id)]
            args: list[str | bytes | float] = [
                history.sequence,
                pack_id(event_id),
                *self._counting,
                gone.item_id,
                counted(gone).feed,
            ]
            for other in others:
                args += [repr(other.event.timestamp), repr(grain(other.weight))]
            if (outcome := int(await self._forget(keys=keys, args=args))) >= 0:
                return outcome > 0

    def _segment_keys(self, user_id: str) -> list[redis_keys.Key]:
        """See `segment_of` in item_counts.py; none where nothing is counted by segment."""
        if not self._segmented:
            return []
        return [redis_keys.about(user_id), redis_keys.SEGMENTS, redis_keys.segment("")]


def _keys_of(user_id: str) -> list[redis_keys.Key]:
    """The keys of a user, in the scripts' order."""
    return [
        redis_keys.events(user_id),
        redis_keys.sequence(user_id),
        redis_keys.profile(user_id),
        redis_keys.floor(user_id),
        redis_keys.counted(user_id),
        redis_keys.SEQUENCES,
    ]


def _once_each(events: Sequence[Counted]) -> Sequence[Counted]:
    """Of several events with one id the first."""
    if len({c.event.event_id for c in events}) == len(events):
        return events
    return list({c.event.event_id: c for c in reversed(events)}.values())[::-1]


def _behind(events: Sequence[Counted], floor: bytes) -> list[Counted]:
    """The same events, in the same order, at the first moments after the floor."""
    return [
        structs.replace(c, event=structs.replace(c.event, timestamp=float(floor) + n * MICROSECOND))
        for n, c in enumerate(events, start=1)
    ]


def _both(first: Appended, second: Appended, retimed: set[str]) -> Appended:
    """What two appends did to one user; the second was of those of the first that are `retimed`."""
    too_old = tuple(e for e in first.too_old if e.event_id not in retimed) + second.too_old
    profile = second.profile if not first.fresh else None
    return Appended((*first.fresh, *second.fresh), too_old, second.sequence, profile)
