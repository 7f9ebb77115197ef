"""The records of one role, as a reader follows them: each look gets what has changed since the one before.

`presence.py` says how records come into Redis.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Generic

import msgspec
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from recsys.state import redis_keys
from recsys.state.membership import M, decoder

STALE_S = 5.0
"""Seconds after which a replica that has said nothing counts as silent: five of its records have failed to come."""
_WHOLE_S = 30.0
"""Seconds between two readings of all records. It mends what was lost in a failover to a Redis that lagged behind."""

# KEYS: records, heard, changed. ARGV: number of the last change that the reader has, milliseconds after which a replica
# is silent. Answers: number of the last change, how many records there are, fields and records that changed, fields
# that are silent. It only reads, so it works on a Redis that refuses writes.
_LOOK = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last = tonumber(redis.call('ZSCORE', KEYS[3], '') or '0')
local fields, records = {}, {}
if last ~= tonumber(ARGV[1]) then
    local since = last > tonumber(ARGV[1]) and '(' .. ARGV[1] or '-inf'
    for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], since, '+inf')) do
        local record = field ~= '' and redis.call('HGET', KEYS[1], field)
        if record then
            fields[#fields + 1] = field
            records[#records + 1] = record
        end
    end
end
local silent = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now + ARGV[2], '+inf')) do
    silent[#silent + 1] = field
end
return {last, redis.call('HLEN', KEYS[1]), fields, records, silent}
"""


class Register(Generic[M]):
    """The records of one role, as this process has read them. `kind`: the role's record."""

    def __init__(self, redis: Redis, kind: type[M]) -> None:
        self._redis = redis
        self._keys = redis_keys.presence(kind.role)
        self._decoder: msgspec.json.Decoder[M] = decoder(kind)
        self._script: AsyncScript = redis.register_script(_LOOK)
        self._turn = asyncio.Lock()
        self._last = 0
        """Number of the last change that was read."""
        self._whole_at = 0.0
        """When all records are read again, by the loop's clock."""
        self._silent: frozenset[bytes] = frozenset()
        self._by_field: dict[bytes, M | None] = {}
        """None: the record of another release, whose replicas are gone or will be."""
        self._lost: dict[bytes, M | None] = {}
        """Records from before Redis lost some."""
        self._lost_until = -math.inf
        """Until when, by the loop's clock, those count: by then every replica has written its record again."""
        self.records: Sequence[M] = ()
        """Every record in Redis, the silent replicas' too, and those that Redis lost a moment ago."""
        self.heard: Sequence[M] = ()
        """The records of replicas that are not silent."""

    @property
    def losing(self) -> bool:
        """Whether Redis lost records a moment ago, so that some replicas have not written theirs again."""
        return bool(self._lost)

    async def look(self) -> None:
        """Take over what has changed since the last look. Raises RedisError or OSError when Redis does not answer."""
        async with self._turn:  # an answer that comes late would look like a Redis that lost changes
            await self._look()

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        whole = now >= self._whole_at
        since = 0 if whole else self._last
        answer: Any = await self._script(keys=self._keys, args=[since, int(STALE_S * 1000)])
        last, size, fields, changed, silent = answer
        if last < self._last:
            self._lost, self._lost_until = self._by_field, now + STALE_S
        anew = whole or last < self._last
        records = {} if anew else self._by_field
        if fields:
            records = {**records, **{f: self._decode(record) for f, record in zip(fields, changed, strict=True)}}
        if anew:
            self._whole_at = now + _WHOLE_S
        if len(records) != size:  # a replica has left
            present: Any = set(await self._redis.hkeys(self._keys.records))
            records = {field: member for field, member in records.items() if field in present}
            if len(records) != len(present):
                self._whole_at = now
        self._last = last
        recovered = bool(self._lost) and now > self._lost_until
        if recovered:
            self._lost = {}
        if records is not self._by_field or frozenset(silent) != self._silent or recovered:
            self._by_field, self._silent = records, frozenset(silent)
            self.records = [m for m in {**self._lost, **records}.values() if m is not None]
            self.heard = [m for f, m in records.items() if m is not None and f not in self._silent]

    def _decode(self, record: bytes) -> M | None:
        try:
            return self._decoder.decode(record)
        except msgspec.DecodeError:
            return None
