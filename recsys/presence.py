"""Who is there. Each replica says its word in Redis, and each reader learns only what has changed since its last look.

A word is the member as JSON. Redis keeps the words of a role, the time of the last word by its own clock (the clocks of
the machines do not matter), and the number of each word's last change, which grows by one with every change. A reader
names the number that it knows and gets the words that changed since, so a look costs what has changed and not how many
replicas there are. Composers read both roles; shards read the composers' words alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from recsys import keys
from recsys.membership import Group, Member, Role, by_shard

SAY_S = 1.0
"""Seconds between two words of a replica that has nothing new to say."""
STALE_S = 5.0
"""A replica that has said nothing for this long counts as silent: five words have failed."""
GONE_S = 180.0
"""Seconds of silence after which a word is struck off. Until then shards keep what the silent composer served: it may
still be serving, and only Redis may be out of its reach."""
_NEVER_S = 1e9
_WHOLE_S = 30.0
"""Seconds between two readings of all words. It mends what a failover of Redis to a server that lagged behind lost."""

# KEYS: words, heard, changed, of the own role first. ARGV: field, word, milliseconds after which the silent are struck
# off. In `changed` the member "" holds the number of the last change. A time far ahead is left from before the clock of
# Redis was set back, and counts as silence.
_SAY = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[3], redis.call('ZINCRBY', KEYS[3], 1, ''), ARGV[1])
end
redis.call('ZADD', KEYS[2], now, ARGV[1])
for role = 1, #KEYS, 3 do
    local gone = redis.call('ZRANGEBYSCORE', KEYS[role + 1], '-inf', now - ARGV[3], 'LIMIT', 0, 16)
    for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[role + 1], now + ARGV[3], '+inf', 'LIMIT', 0, 16)) do
        gone[#gone + 1] = field
    end
    for _, field in ipairs(gone) do
        redis.call('HDEL', KEYS[role], field)
        redis.call('ZREM', KEYS[role + 1], field)
        redis.call('ZREM', KEYS[role + 2], field)
    end
end
"""

# KEYS: words, heard, changed. ARGV: number of the last change that is known, milliseconds after which one is silent.
# Answers: the last change, how many words there are, fields and words that changed, fields that are silent.
# It only reads, so it works on a Redis that refuses writes.
_LOOK = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last = tonumber(redis.call('ZSCORE', KEYS[3], '') or '0')
local fields, words = {}, {}
if last ~= tonumber(ARGV[1]) then
    local since = last > tonumber(ARGV[1]) and '(' .. ARGV[1] or '-inf'
    for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], since, '+inf')) do
        local word = field ~= '' and redis.call('HGET', KEYS[1], field)
        if word then
            fields[#fields + 1] = field
            words[#words + 1] = word
        end
    end
end
local silent = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now + ARGV[2], '+inf')) do
    silent[#silent + 1] = field
end
return {last, redis.call('HLEN', KEYS[1]), fields, words, silent}
"""


class Register:
    """The words of one role, as this process knows them."""

    def __init__(self, redis: Redis, role: Role) -> None:
        self._redis = redis
        self._keys = keys.presence(role)
        self._look: AsyncScript = redis.register_script(_LOOK)
        self._turn = asyncio.Lock()
        self._last = 0
        """Number of the last change that is known."""
        self._whole_at = 0.0
        """When all words are read again, by the loop's clock."""
        self._silent: frozenset[bytes] = frozenset()
        self._words: dict[bytes, Member | None] = {}
        """None: the word of another release, whose replicas are gone or will be."""
        self._lost: dict[bytes, Member | None] = {}
        """Words of before Redis lost some."""
        self._lost_until = -math.inf
        """Until when, by the loop's clock, they count: by then everyone has said his word anew."""
        self.known: Sequence[Member] = ()
        """Everyone whose word stands in Redis, the silent too, or stood there when Redis lost some a moment ago."""
        self.heard: Sequence[Member] = ()
        """Those who are not silent."""

    @property
    def losing(self) -> bool:
        """Whether Redis lost words a moment ago, so that not everyone has said his word again."""
        return bool(self._lost)

    async def look(self) -> None:
        """Take over what has changed since the last look."""
        async with self._turn:  # an answer that comes late would look like a Redis that lost changes
            await self._take()

    async def _take(self) -> None:
        now = asyncio.get_running_loop().time()
        whole = now >= self._whole_at
        since = 0 if whole else self._last
        answer: Any = await self._look(keys=self._keys, args=[since, int(STALE_S * 1000)])
        last, size, fields, said, silent = answer
        if last < self._last:
            self._lost, self._lost_until = self._words, now + STALE_S
        anew = whole or last < self._last
        words = {} if anew else self._words
        if fields:
            words = {**words, **{f: _parsed(w) for f, w in zip(fields, said, strict=True)}}
        if anew:
            self._whole_at = now + _WHOLE_S
        if len(words) != size:  # somebody has left
            there: Any = set(await self._redis.hkeys(self._keys[0]))
            words = {field: member for field, member in words.items() if field in there}
            if len(words) != len(there):
                self._whole_at = now
        self._last = last
        found_again = bool(self._lost) and now > self._lost_until
        if found_again:
            self._lost = {}
        if words is not self._words or frozenset(silent) != self._silent or found_again:
            self._words, self._silent = words, frozenset(silent)
            self.known = [m for m in {**self._lost, **words}.values() if m is not None]
            self.heard = [m for f, m in words.items() if m is not None and f not in self._silent]


class Presence:
    """One replica's own word, and those of the roles that it reads.

    A list of members is not worth less because Redis stopped taking words, or lost them. So the silent still count
    while this replica's own words fail, for a moment after that, while words are said again that Redis lost, and where
    nobody of a role is heard any more but somebody was.
    """

    def __init__(self, redis: Redis, member: Member, reads: Sequence[Role]) -> None:
        self.member = member
        self._redis = redis
        self._keys = keys.presence(member.role)
        self._others = keys.presence("composer" if member.role == "shard" else "shard")
        self._script: AsyncScript = redis.register_script(_SAY)
        self._saying = asyncio.Lock()
        self._mute_until = -math.inf
        self._taken_since = math.inf
        """Since when Redis takes every word of this replica. Both by the loop's clock."""
        self.looked = False
        """Whether Redis ever told who is there."""
        self._registers = {role: Register(redis, role) for role in reads}
        self._members: dict[Role, Sequence[Member]] = dict.fromkeys(reads, ())
        self.group: Group = {}
        """The replicas of each shard."""

    def members(self, role: Role) -> Sequence[Member]:
        """As of the last look; the same object until that shows something new."""
        return self._members[role]

    def known(self, role: Role) -> Sequence[Member]:
        """The last words of all who have not left, and were heard within GONE_S or before words began to fail."""
        return self._registers[role].known

    async def say(self, update: Callable[[Member], Member] = lambda member: member) -> None:
        """Say the member's word, changed by `update` before. Raises RedisError or OSError when Redis refuses it."""
        async with self._saying:  # one at a time, or an older word could overtake a newer
            self.member = update(self.member)
            word = self.member.model_dump_json(exclude_defaults=True)
            loop = asyncio.get_running_loop()
            # After an outage of Redis everyone has been silent for long, and gets time to speak again.
            gone_s = GONE_S if loop.time() > self._taken_since + STALE_S else _NEVER_S
            try:
                await self._script(keys=[*self._keys, *self._others], args=[self.member.id, word, int(gone_s * 1000)])
            except BaseException:
                self._mute_until, self._taken_since = loop.time() + STALE_S, math.inf
                raise
            self._taken_since = min(self._taken_since, loop.time())

    async def leave(self) -> None:
        """Take the word back. Redis may be away: then it is struck off for its silence."""
        with contextlib.suppress(RedisError, OSError):
            pipe = self._redis.pipeline(transaction=True)
            words, heard, changed = self._keys
            pipe.hdel(words, self.member.id)
            pipe.zrem(heard, self.member.id)
            pipe.zrem(changed, self.member.id)
            await pipe.execute()

    async def look(self) -> None:
        """Take over what others have said. Raises RedisError or OSError: then the members stay those of before."""
        await asyncio.gather(*(register.look() for register in self._registers.values()))
        self.looked = True
        mute = asyncio.get_running_loop().time() < self._mute_until or any(r.losing for r in self._registers.values())
        for role, register in self._registers.items():
            before = self._members[role]
            now = register.known if mute or (before and not register.heard) else register.heard
            if now is not before:
                self._members[role] = now
                if role == "shard":
                    self.group = by_shard(now)


async def everyone(redis: Redis, *, silent_too: bool = False) -> list[Member]:
    """Shards and composers that are heard; `silent_too`: and those that were heard within the last GONE_S."""
    roles: tuple[Role, ...] = ("shard", "composer")
    registers = [Register(redis, role) for role in roles]
    for register in registers:
        await register.look()
    return [m for register in registers for m in (register.known if silent_too else register.heard)]


async def secret(redis: Redis) -> bytes:
    """What both ends of a channel must know; made by whoever comes first."""
    known: Any = await redis.get(keys.SECRET)
    if known is None:  # asked for first: a Redis that refuses writes has it, too
        await redis.set(keys.SECRET, os.urandom(32), nx=True)
        known = await redis.get(keys.SECRET)
    return bytes(known)


def _parsed(word: bytes) -> Member | None:
    try:
        return Member.model_validate_json(word)
    except ValidationError:
        return None
