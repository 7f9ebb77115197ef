"""What is known of users, in Redis: the history is the truth, the profile a cache of it.

A cached profile is one value, see `profile_cache.py`. It is valid while its sequence is the user's, its version the one
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

import msgspec
from msgspec import structs
from redis.asyncio import Redis

from recsys import keys
from recsys.counting import COUNTING, grain
from recsys.datatypes import Interaction, UserProfile
from recsys.profile_cache import decode, encode, remains

_EARLY_TTL_S = 900
"""Seconds for which a profile of a version that is about to be served is kept beside that of the served one."""

_FLOOR_TTL_S = 400 * 86_400
"""Seconds for which an erased user's old events are refused, where users' keys live for ever."""

MICROSECOND = 1e-6
"""Seconds between events of one call that came without a time."""

_APPEND = (
    COUNTING
    + """
-- KEYS: events, order, sequence, profile, floor, counted of a user; then sequences
-- ARGV: events to keep; seconds that the user's keys live, 0: for ever; the call's mark; half-life of trends in
--       seconds; prefixes of counters and feeds; then for each event: id, timestamp, JSON, item, weight, feed
local fresh, old, before, gone = {}, {}, call('GET', KEYS[3]), {}
local floor = call('GET', KEYS[5])
local from = tonumber(floor or '-inf')
local to = {counted = KEYS[6], sequences = KEYS[7], half_life = tonumber(ARGV[4]), count = ARGV[5], touched = ARGV[6]}
local written = 0
for i = 7, #ARGV, 6 do
  local place, time = (i - 7) / 6, tonumber(ARGV[i + 1])
  if time <= from then
    old[#old + 1] = place
  elseif call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2]) == 0 then
    -- The answer to an earlier try of this very call was lost: that try has counted the event.
    if string.sub(call('HGET', KEYS[1], ARGV[i]), -#ARGV[3]) == ARGV[3] then fresh[#fresh + 1] = place end
  else
    written = written + 1
    fresh[#fresh + 1] = place
    call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
    say(to, ARGV[i + 3], tonumber(ARGV[i + 5]), time, tonumber(ARGV[i + 4]))
  end
end
if written == 0 then return {fresh, old, floor or '', '0', before or '0', '', 0} end
local over = call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
if over > math.floor(tonumber(ARGV[1]) / 10) then
  gone = call('ZPOPMIN', KEYS[2], over)
  for i = 1, #gone, 2 do
    unsay(to, cjson.decode(call('HGET', KEYS[1], gone[i]))[1], tonumber(gone[i + 1]))
    call('HDEL', KEYS[1], gone[i])
  end
  call('SET', KEYS[5], gone[#gone])
end
local after = tell(to)
call('SET', KEYS[3], after)
if ARGV[2] ~= '0' then
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]}) do call('EXPIRE', key, ARGV[2]) end
end
-- What has left the history is still in the cached profile, and a lost try has moved on the sequence: only a rebuild
-- puts both right.
local foldable = #gone == 0 and written == #fresh
local profile = foldable and call('GET', KEYS[4]) or ''
return {fresh, old, floor or '', before or '0', after, profile, foldable and 1 or 0}
"""
)

_SAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
"""

_ADOPT = """
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[3])
  redis.call('EXPIRE', KEYS[3], ARGV[2])
end
"""

_ERASE = (
    COUNTING
    + """
-- KEYS: as above, and early. ARGV: seconds for which older events are refused; half-life; prefixes of counters, feeds
local count, said = call('HLEN', KEYS[1]), call('HKEYS', KEYS[6])
local to = {counted = KEYS[6], sequences = KEYS[7], half_life = tonumber(ARGV[2]), count = ARGV[3], touched = ARGV[4]}
for _, item in ipairs(said) do unsay(to, item, math.huge) end
tell(to)
local time = call('TIME')
call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[8])
call('SET', KEYS[5], string.format('%d.%06d', time[1], time[2]), 'EX', ARGV[1])
return count
"""
)


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


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """An event as it stands in the history: a JSON array. User and event_id are in the key and the field's name."""

    item_id: str
    type: str
    timestamp: float
    value: float | None
    request_id: str | None
    call: str
    """Names the call that brought it. Last, so that the script can compare it without reading JSON."""


_write_event = msgspec.json.Encoder().encode
_read_event = msgspec.json.Decoder(_Kept).decode


class Stale(int):
    """The sequence that a user's history stands at, where no cached profile contains it all."""

    blob: bytes | None = None
    """What is cached."""

    def remains(self, unknown: UserProfile) -> UserProfile:
        """What the cached profile still tells, marked `stale`."""
        left = None if self.blob is None else remains(self.blob, unknown)
        return structs.replace(unknown, stale=True) if left is None else left


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A user's history as Redis holds it, with a sequence whose events are all in it."""

    user_id: str
    sequence: int
    fields: Mapping[bytes, bytes]
    cut: bool
    """Whether older events have left it, for it is as long as it may be."""

    def __len__(self) -> int:
        return len(self.fields)

    def events(self) -> list[Interaction]:
        """Oldest first; events of the same moment in order of their ids."""
        events = []
        for event_id, document in self.fields.items():
            kept = _read_event(document)
            known = (kept.item_id, kept.type, kept.timestamp, kept.value, kept.request_id)
            events.append(Interaction(event_id.decode(), self.user_id, *known))
        return sorted(events, key=in_order)


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
        self._counting = [repr(float(trend_half_life_s)), keys.count(""), keys.touched("")]
        self._append = redis.register_script(_APPEND)
        self._save = redis.register_script(_SAVE)
        self._adopt = redis.register_script(_ADOPT)
        self._erase = redis.register_script(_ERASE)

    async def load(self, user_ids: Sequence[str], version: str, unknown: UserProfile) -> list[UserProfile | Stale]:
        """One round trip. A profile each; where it must be rebuilt, the sequence that the history stands at.

        `unknown` is the profile of whom nothing is known; the version's others have vectors of the same lengths.
        """
        if not user_ids:
            return []
        values: list[Any] = await self._redis.mget([k for u in user_ids for k in (keys.sequence(u), keys.profile(u))])
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
            pipe.get(keys.early(user_id))
            pipe.hlen(keys.events(user_id))
        answers: list[Any] = await pipe.execute()
        ready = {}
        for (user_id, sequence), blob in zip(sequences.items(), answers[::2], strict=True):
            known = decode(blob, version, self._settings, unknown) if blob else None
            if known is not None and known[0].sequence == sequence:
                ready[user_id] = known[0]
                own = [make(user_id) for make in (keys.sequence, keys.early, keys.profile)]
                await self._adopt(keys=own, args=[sequence, self._ttl_s], client=pipe)
        await pipe.execute()
        return ready, dict(zip(sequences, answers[1::2], strict=True))

    async def unprepared(
        self, user_ids: Sequence[str], version: str, unknown: UserProfile
    ) -> dict[str, tuple[int, int]]:
        """Of the users who have events those without a profile for a version that is about to be served: the sequence
        and the number of events.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.get(keys.sequence(user_id))
            pipe.get(keys.early(user_id))
            pipe.hlen(keys.events(user_id))
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
            pipe.get(keys.sequence(user_id))  # first: an event in between is in the history and not in the sequence
            pipe.hgetall(keys.events(user_id))
            pipe.exists(keys.floor(user_id))
        found: list[Any] = await pipe.execute()
        rows = zip(user_ids, found[::3], found[1::3], found[2::3], strict=True)
        return [
            StoredHistory(user_id, int(sequence or 0), fields, bool(floor) and len(fields) >= self._history)
            for user_id, sequence, fields, floor in rows
        ]

    async def histories(self, user_ids: Sequence[str]) -> list[list[Interaction]]:
        """Oldest first; events of the same moment in order of their ids."""
        stored = await self.stored(user_ids)
        return await asyncio.to_thread(lambda: [one.events() for one in stored])

    async def everyone(self, at_a_time: int = 500) -> AsyncIterator[tuple[int, list[list[Interaction]]]]:
        """All users' histories, some at a time, with how many users there have been; who comes meanwhile may miss."""
        done, page = 0, []
        async for key in self._redis.scan_iter(match=keys.events("*"), count=1000):
            page.append(keys.user_of(key))
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
        pipe = self._redis.pipeline(transaction=False)
        call = secrets.token_urlsafe(6)
        for user_id, counted in events.items():
            args: list[str | bytes | float] = [self._history, self._user_ttl_s or 0, f'"{call}"]', *self._counting]
            for c in counted:
                e = c.event
                document = _write_event(_Kept(e.item_id, e.type, e.timestamp, e.value, e.request_id, call))
                args += [e.event_id, repr(e.timestamp), document, e.item_id, repr(grain(c.weight)), c.feed]
            await self._append(keys=_own(user_id), args=args, client=pipe)
        done: dict[str, tuple[Appended, Sequence[Counted]]] = {}
        for (user_id, counted), answer in zip(events.items(), await pipe.execute(), strict=True):
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
        key, kept_s = (keys.early, _EARLY_TTL_S) if early else (keys.profile, self._ttl_s)
        pipe = self._redis.pipeline(transaction=False)
        for user_id, (profile, newest) in profiles.items():
            blob = encode(profile, newest, version, self._settings)
            args: list[bytes | int] = [profile.sequence, blob, min(ttl_s or kept_s, kept_s)]
            await self._save(keys=[keys.sequence(user_id), key(user_id)], args=args, client=pipe)
        await pipe.execute()

    async def erase(self, user_id: str) -> int:
        """Forget a user: history, cache, and what the likes added to items. How many events went.

        Events of before this moment that are sent again, by a retry or an import, are not taken for `user_ttl_s`
        seconds, 400 days where that is None.
        """
        ttl_s = self._user_ttl_s or _FLOOR_TTL_S
        return int(await self._erase(keys=[*_own(user_id), keys.early(user_id)], args=[ttl_s, *self._counting]))


def in_order(event: Interaction) -> tuple[float, str]:
    """By time, and within the same moment by id: the order of a history, however its events came."""
    return (event.timestamp, event.event_id)


def _own(user_id: str) -> list[keys.Key]:
    """The keys of a user, in the scripts' order."""
    own = (keys.events, keys.order, keys.sequence, keys.profile, keys.floor, keys.counted)
    return [*(make(user_id) for make in own), keys.SEQUENCES]


def _behind(late: Sequence[Counted], floor: bytes) -> list[Counted]:
    """The same events, in the same order, at the first moments after the floor."""
    return [
        replace(c, event=replace(c.event, timestamp=float(floor) + n * MICROSECOND))
        for n, c in enumerate(late, start=1)
    ]
