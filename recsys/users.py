"""What is known of users, in Redis: the history is the truth, the profile a cache of it.

A cached profile is one value: a header, the taste, the keys of seen items, the last liked items. It is valid while its
sequence is the user's and its version the one asked for, so it needs no deletion when either moves on.

An event_id counts once within the history. Events as old as those that have left it are not taken any more, for nobody
could say whether they were counted; the same holds for a user who was erased, up to that moment.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from redis.asyncio import Redis

from recsys import keys
from recsys.datatypes import Interaction, UserProfile

_HEADER = struct.Struct("<8sQdIHHHHId")
"""Version hash, sequence, timestamp of the newest event, seen items, recent items, trail, lengths of taste and vectors,
likes of the session and when its last was: 48 bytes, so that the 8-byte keys behind them are aligned."""

_FORMAT = b"profile 4"
"""Profiles that were cached in another form are of another version."""

_APPEND = """
-- KEYS: events, order, sequence, profile, floor of a user; then sequences, likes, trend, touched
-- ARGV: events to keep; then for each event: id, timestamp, JSON, item, weight, trend as log2
local fresh, before, gone = {}, redis.call('GET', KEYS[3]), {}
local floor = tonumber(redis.call('GET', KEYS[5]) or '-inf')
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])  -- one clock, however many composers
for i = 2, #ARGV, 6 do
  if tonumber(ARGV[i + 1]) > floor and redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2]) == 1 then
    fresh[#fresh + 1] = (i - 2) / 6
    redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
    if tonumber(ARGV[i + 4]) > 0 then
      local item, new = ARGV[i + 3], tonumber(ARGV[i + 5])
      redis.call('ZINCRBY', KEYS[7], ARGV[i + 4], item)
      local old = redis.call('ZSCORE', KEYS[8], item)
      if old then
        local a, b = math.max(tonumber(old), new), math.min(tonumber(old), new)
        new = a + math.log(1 + 2 ^ (b - a)) / math.log(2)
      end
      redis.call('ZADD', KEYS[8], string.format('%.17g', new), item)
      redis.call('ZADD', KEYS[9], now, item)
    end
  end
end
if #fresh == 0 then return {fresh, before or '0', before or '0', '', 0} end
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
if over > math.floor(tonumber(ARGV[1]) / 10) then
  gone = redis.call('ZPOPMIN', KEYS[2], over)
  for i = 1, #gone, 2 do redis.call('HDEL', KEYS[1], gone[i]) end
  redis.call('SET', KEYS[5], gone[#gone])
end
local after = redis.call('INCR', KEYS[6])
redis.call('SET', KEYS[3], after)
return {fresh, before or '0', after, redis.call('GET', KEYS[4]) or '', #gone}
"""

_SAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
"""

_ERASE = """
local count = redis.call('HLEN', KEYS[1])
local time = redis.call('TIME')
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SET', KEYS[5], string.format('%d.%06d', time[1], time[2]))
return count
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """An event with what it adds to its item: `weight` likes, and `trend` = log2 of them at the event's time."""

    event: Interaction
    weight: float
    trend: float


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did to one user. `profile` is the one before it, still to be folded; None: rebuild it."""

    fresh: tuple[Interaction, ...]
    """Events that were not there yet, in the order given."""
    sequence: int
    profile: UserProfile | None


class UserStore:
    def __init__(self, redis: Redis, *, ttl_s: int, history: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._history = history
        self._append = redis.register_script(_APPEND)
        self._save = redis.register_script(_SAVE)
        self._erase = redis.register_script(_ERASE)

    async def load(self, user_ids: Sequence[str], version: str, unknown: UserProfile) -> list[UserProfile | int]:
        """One round trip. A profile each; where it must be rebuilt, the sequence that the history stands at.

        `unknown` is the profile of whom nothing is known; the version's others have vectors of the same lengths.
        """
        if not user_ids:
            return []
        values: list[Any] = await self._redis.mget([k for u in user_ids for k in (keys.sequence(u), keys.profile(u))])
        loaded: list[UserProfile | int] = []
        for at, blob in zip(values[::2], values[1::2], strict=True):
            sequence = int(at or 0)
            if not sequence:
                loaded.append(unknown)
                continue
            known = _decode(blob, version, unknown) if blob else None
            loaded.append(known[0] if known and known[0].sequence == sequence else sequence)
        return loaded

    async def histories(self, user_ids: Sequence[str]) -> list[list[Interaction]]:
        """Oldest first; events of the same second in order of their ids."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.hvals(keys.events(user_id))
        return [sorted(map(_event, stored), key=in_order) for stored in await pipe.execute()]

    async def everyone(self, at_a_time: int = 500) -> AsyncIterator[tuple[int, list[list[Interaction]]]]:
        """All users' histories, some at a time, with how many users there have been; who comes meanwhile may miss."""
        prefix, done, page = keys.events(""), 0, []
        async for key in self._redis.scan_iter(match=f"{prefix}*", count=1000):
            page.append(key.decode().removeprefix(prefix))
            if len(page) == at_a_time:
                done += len(page)
                yield done, await self.histories(page)
                page = []
        if page:
            yield done + len(page), await self.histories(page)

    async def append(
        self, events: Mapping[str, Sequence[Counted]], version: str, unknown: UserProfile
    ) -> dict[str, Appended]:
        """Add events by user, each once by its event_id; one round trip for all users."""
        pipe = self._redis.pipeline(transaction=False)
        shared = [keys.SEQUENCES, keys.LIKES, keys.TREND, keys.TOUCHED]
        for user_id, counted in events.items():
            own = _own(user_id)
            args: list[str | bytes | float] = [self._history]
            for c in counted:
                document = orjson.dumps(asdict(c.event))
                args += [c.event.event_id, repr(c.event.timestamp), document, c.event.item_id, c.weight, repr(c.trend)]
            await self._append(keys=own + shared, args=args, client=pipe)
        done = {}
        for (user_id, counted), answer in zip(events.items(), await pipe.execute(), strict=True):
            fresh, before, after, blob, gone = answer
            added = tuple(counted[int(i)].event for i in fresh)
            # What has left the history is still in the cached profile: only a rebuild is without it.
            profile = None if gone else _foldable(blob, int(before), added, version, unknown)
            done[user_id] = Appended(added, int(after), profile)
        return done

    async def save(
        self, profiles: Mapping[str, tuple[UserProfile, Interaction]], version: str, ttl_s: int | None = None
    ) -> None:
        """Cache profiles, each with its newest event; dropped where the history has moved on.

        `ttl_s`: seconds until they expire; None: the store's.
        """
        pipe = self._redis.pipeline(transaction=False)
        for user_id, (profile, newest) in profiles.items():
            blob = _encode(profile, newest, version)
            args: list[bytes | int] = [profile.sequence, blob, ttl_s or self._ttl_s]
            await self._save(keys=[keys.sequence(user_id), keys.profile(user_id)], args=args, client=pipe)
        await pipe.execute()

    async def erase(self, user_id: str) -> int:
        """Forget a user: history and cache. How many events went.

        Events of before this moment that are sent again, by a retry or an import, are not taken.
        """
        return int(await self._erase(keys=_own(user_id)))


def in_order(event: Interaction) -> tuple[float, str]:
    """By time, and within the same moment by id: the order of a history, however its events came."""
    return (event.timestamp, event.event_id)


def _own(user_id: str) -> list[str]:
    """The keys of a user, in the scripts' order."""
    return [make(user_id) for make in (keys.events, keys.order, keys.sequence, keys.profile, keys.floor)]


def _event(stored: bytes) -> Interaction:
    return Interaction(**orjson.loads(stored))


def _foldable(
    blob: bytes, before: int, fresh: Sequence[Interaction], version: str, unknown: UserProfile
) -> UserProfile | None:
    """The profile that the new events can be added to: of the sequence before them, and none of them late."""
    if not fresh:
        return None
    if not before:
        return unknown
    known = _decode(blob, version, unknown) if blob else None
    if known is None or known[0].sequence != before or min(map(in_order, fresh)) < known[1]:
        return None
    return known[0]


@lru_cache(8)
def _version_hash(version: str) -> bytes:
    return hashlib.blake2b(version.encode(), digest_size=8, person=_FORMAT).digest()


def _encode(profile: UserProfile, newest: Interaction, version: str) -> bytes:
    lengths = (len(profile.taste), profile.recent_vectors.shape[1])
    sizes = (len(profile.seen), len(profile.recent), len(profile.trail), *lengths)
    header = _HEADER.pack(
        _version_hash(version), profile.sequence, newest.timestamp, *sizes, profile.session, profile.session_at
    )
    columns = (profile.taste, profile.seen, profile.trail, profile.trail_weights, profile.recent_vectors)
    names = "\n".join((newest.event_id, *profile.recent))
    return b"".join((header, *(column.tobytes() for column in columns), names.encode()))


def _decode(blob: bytes, version: str, unknown: UserProfile) -> tuple[UserProfile, tuple[float, str]] | None:
    """The profile, and where its newest event stands `in_order`; None when it is of another version."""
    made_for, sequence, newest, seen, recent, trail, *lengths, session, session_at = _HEADER.unpack_from(blob)
    taste_width, width = lengths
    if made_for != _version_hash(version) or (taste_width, width) != (
        len(unknown.taste),
        unknown.recent_vectors.shape[1],
    ):
        return None
    columns: list[Any] = []
    at = _HEADER.size
    for dtype, count in (
        (np.float32, taste_width), (np.uint64, seen), (np.uint64, trail), (np.float32, trail),
        (np.float32, recent * width),
    ):  # fmt: skip
        columns.append(np.frombuffer(blob, dtype, count, at))
        at += columns[-1].nbytes
    taste, seen_keys, trail_keys, trail_weights, vectors = columns
    newest_id, *names = blob[at:].decode().split("\n")
    vectors = vectors.reshape(recent, width)
    profile = UserProfile(
        taste, seen_keys, tuple(names), vectors, trail_keys, trail_weights, sequence, session_at, session
    )
    return profile, (newest, newest_id)
