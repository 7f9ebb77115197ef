"""The version that goes out to some of the users, and how far it is, in Redis: composers look four times a second."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from recsys.state import redis_keys

_START = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
_REPLACE = """
-- ARGV: the record that must still be there, and the next one; empty: none
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


class CanaryRecord(msgspec.Struct, frozen=True):
    version: str
    base: str
    """The version that all others have."""
    steps: tuple[float, ...]
    """Shares of the users."""
    step_s: float
    """Seconds that a step lasts, at the least."""
    began: tuple[float, ...] = ()
    """Unix seconds at which each step so far began; empty: no composer has the version yet."""
    asked_at: float = 0.0
    """Unix seconds at which it was asked for."""
    allow_shrink: bool = False

    @property
    def share(self) -> float:
        """Of the users, now."""
        return self.steps[len(self.began) - 1] if self.began else 0.0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CanaryRecord).decode


class CanaryRecords:
    """All methods raise RedisError or OSError when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._start = redis.register_script(_START)
        self._replace = redis.register_script(_REPLACE)

    async def read(self) -> CanaryRecord | None:
        """None: no version goes out."""
        stored: Any = await self._redis.get(redis_keys.CANARY)
        return None if stored is None else _decode(stored)

    async def start(self, record: CanaryRecord) -> bool:
        """Return False, and change nothing, while another one goes out."""
        return bool(await self._start(keys=[redis_keys.CANARY], args=[_encode(record)]))

    async def replace(self, before: CanaryRecord, after: CanaryRecord | None) -> bool:
        """Change it, or end it with None. Return False where it was changed meanwhile."""
        args = [_encode(before), b"" if after is None else _encode(after)]
        return bool(await self._replace(keys=[redis_keys.CANARY], args=args))
