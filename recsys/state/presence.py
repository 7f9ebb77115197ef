"""Who is there. Each replica writes its record to Redis, and each reader learns what has changed since its last look.

A record is a member as JSON, see `membership.py`. For each role Redis keeps three keys: the records, the time at which
each was written last by Redis' own clock (the clocks of the machines do not matter), and the number of each record's
last change, which grows by one with every change. A reader names the number that it has and gets the records that
changed since, so a look costs what has changed and not how many replicas there are. Composers read both roles; shards
read the composers' records alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from recsys.state import redis_keys
from recsys.state.membership import ComposerMember, Group, M, Member, ShardMember, by_shard, encode
from recsys.state.register import STALE_S, Register

R = TypeVar("R", ShardMember, ComposerMember)
"""A record that is read."""

SAY_S = 1.0
"""Seconds between two writes of a replica whose record has not changed."""
GONE_S = 180.0
"""Seconds of silence after which a record is deleted. Until then shards keep what the silent composer served: it may
still be serving, and only Redis may be out of its reach."""
_NEVER_S = 1e9

# KEYS: records, heard, changed, of the own role first. ARGV: field, record, milliseconds after which the records of
# silent replicas are deleted. In `changed` the member "" holds the number of the last change. A time far ahead is left
# from before the clock of Redis was set back, and counts as silence.
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


class Presence(Generic[M]):
    """One replica's own record, and those of the roles that it reads.

    A list of members is not worth less because Redis stopped taking records, or lost them. So silent members still
    count while this replica cannot write its own record, for a moment after that, while records that Redis lost are
    written again, and where no member of a role is heard any more but some were.
    """

    def __init__(self, redis: Redis, member: M, reads: Sequence[type[Member]]) -> None:
        """`reads`: the roles whose records it reads."""
        self.member: M = member
        self._redis = redis
        self._keys = redis_keys.presence(member.role)
        self._others = redis_keys.presence("composer" if member.role == "shard" else "shard")
        self._script: AsyncScript = redis.register_script(_SAY)
        self._saying = asyncio.Lock()
        self._mute_until = -math.inf
        """Until when silent members count, because this replica's own record was refused. By the loop's clock."""
        self._taken_since = math.inf
        """Since when Redis has taken every record of this replica. By the loop's clock."""
        self.looked = False
        """Whether Redis ever told who is there."""
        self._registers: dict[type[Member], Register[Any]] = {kind: Register(redis, kind) for kind in reads}
        self._members: dict[type[Member], Sequence[Any]] = dict.fromkeys(reads, ())
        self.group: Group = {}
        """The replicas of each shard."""

    def members(self, kind: type[R]) -> Sequence[R]:
        """As of the last look; the same object until that shows something new."""
        return self._members[kind]

    def records(self, kind: type[R]) -> Sequence[R]:
        """The last records of all who have not left, and were heard within GONE_S or before writes began to fail."""
        return self._registers[kind].records

    async def say(self, update: Callable[[M], M] = lambda member: member) -> None:
        """Write the member's record, changed by `update` before. Raises RedisError or OSError when Redis refuses it."""
        async with self._saying:  # one at a time, or an older record could overtake a newer
            self.member = update(self.member)
            loop = asyncio.get_running_loop()
            # After an outage of Redis everyone has been silent for long, and gets time to speak again.
            gone_s = GONE_S if loop.time() > self._taken_since + STALE_S else _NEVER_S
            args: list[str | bytes | int] = [self.member.id, encode(self.member), int(gone_s * 1000)]
            try:
                await self._script(keys=[*self._keys, *self._others], args=args)
            except BaseException:
                self._mute_until, self._taken_since = loop.time() + STALE_S, math.inf
                raise
            self._taken_since = min(self._taken_since, loop.time())

    async def leave(self) -> None:
        """Delete the record. Where Redis is away it is deleted later, for its silence."""
        with contextlib.suppress(RedisError, OSError):
            pipe = self._redis.pipeline(transaction=True)
            pipe.hdel(self._keys.records, self.member.id)
            pipe.zrem(self._keys.heard, self.member.id)
            pipe.zrem(self._keys.changed, self.member.id)
            await pipe.execute()

    async def look(self) -> None:
        """Take over what others have said. Raises RedisError or OSError: then the members stay those of before."""
        await asyncio.gather(*(register.look() for register in self._registers.values()))
        self.looked = True
        mute = asyncio.get_running_loop().time() < self._mute_until or any(r.losing for r in self._registers.values())
        for kind, register in self._registers.items():
            before = self._members[kind]
            now = register.records if mute or (before and not register.heard) else register.heard
            if now is not before:
                self._members[kind] = now
                if kind is ShardMember:
                    self.group = by_shard(now)


async def everyone(redis: Redis, *, silent_too: bool = False) -> list[Member]:
    """Shards and composers that are heard; `silent_too`: and those that were heard within the last GONE_S."""
    shards, composers = Register(redis, ShardMember), Register(redis, ComposerMember)
    await asyncio.gather(shards.look(), composers.look())
    if silent_too:
        return [*shards.records, *composers.records]
    return [*shards.heard, *composers.heard]


async def secret(redis: Redis) -> bytes:
    """The 32 bytes that both ends of a channel must know; the first process to ask makes them."""
    stored: Any = await redis.get(redis_keys.SECRET)
    if stored is None:  # read first: a Redis that refuses writes has it, too
        await redis.set(redis_keys.SECRET, os.urandom(32), nx=True)
        stored = await redis.get(redis_keys.SECRET)
    return bytes(stored)
