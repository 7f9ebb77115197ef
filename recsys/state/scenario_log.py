"""Edits of scenarios in Redis, numbered: the newest is in force, and those before it can be gone back to."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from recsys.state import redis_keys

KEPT = 100
"""Edits that are stored; older ones are dropped."""

_APPEND = """
-- KEYS: scenarios. ARGV: number of the edit, the edit, number of the edit that is dropped
if tonumber(redis.call('HGET', KEYS[1], 'version') or '0') + 1 ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[3])
return 1
"""


class ScenarioEdit(msgspec.Struct, frozen=True):
    """One edit, and what is in force with it."""

    version: int
    author: str
    at: float
    """Unix seconds."""
    changed: tuple[str, ...]
    """Names of the scenarios that it changed."""
    scenarios: dict[str, dict[str, Any]]
    """All that edits say of scenarios, by name; those of the config file that are not named stay as they are."""
    comment: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ScenarioEdit).decode


class ScenarioLog:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = redis.register_script(_APPEND)

    async def version(self) -> int:
        """Number of the newest edit; 0: there is none."""
        answer: Any = await self._redis.hget(redis_keys.SCENARIOS, "version")
        return int(answer or 0)

    async def read(self, version: int) -> ScenarioEdit | None:
        """None: there is no such edit, or it was dropped."""
        answer: Any = await self._redis.hget(redis_keys.SCENARIOS, str(version))
        return None if answer is None else _decode(answer)

    async def newest(self, count: int) -> list[ScenarioEdit]:
        """The last edits, newest first."""
        last = await self.version()
        numbers = [str(n) for n in range(last, max(last - count, 0), -1)]
        answers: Any = await self._redis.hmget(redis_keys.SCENARIOS, numbers) if numbers else []
        return [_decode(answer) for answer in answers if answer is not None]

    async def append(self, edit: ScenarioEdit) -> bool:
        """False: there is a newer edit than the one before this."""
        args: list[int | bytes] = [edit.version, _encode(edit), edit.version - KEPT]
        return bool(await self._append(keys=[redis_keys.SCENARIOS], args=args))
