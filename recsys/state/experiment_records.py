"""What each experiment is, when it ran and why it ended, in Redis: it is read when its settings are long gone."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from recsys.state import redis_keys


class ExperimentRecord(msgspec.Struct, frozen=True):
    scenario: str
    experiment: dict[str, Any]
    """As it was in force last, see `config/experiments.py`."""
    started_at: float
    """Unix seconds."""
    author: str = ""
    ended_at: float | None = None
    """Unix seconds; None: it runs."""
    reason: str = ""
    """Why it ended."""
    kept: str | None = None
    """The variant whose settings the scenario has since; None: its own."""

    @property
    def name(self) -> str:
        return str(self.experiment["name"])


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ExperimentRecord).decode


class ExperimentRecords:
    """All methods raise RedisError or OSError when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, record: ExperimentRecord) -> bool:
        """Return False, and store nothing, where the name is taken: the log has its answers under it for ever."""
        return bool(await self._redis.hsetnx(redis_keys.EXPERIMENTS, record.name, _encode(record)))

    async def put(self, record: ExperimentRecord) -> None:
        await self._redis.hset(redis_keys.EXPERIMENTS, record.name, _encode(record))

    async def drop(self, name: str) -> None:
        await self._redis.hdel(redis_keys.EXPERIMENTS, name)

    async def read(self, name: str) -> ExperimentRecord | None:
        stored: Any = await self._redis.hget(redis_keys.EXPERIMENTS, name)
        return None if stored is None else _decode(stored)

    async def all(self) -> list[ExperimentRecord]:
        """Newest first."""
        stored: Any = await self._redis.hgetall(redis_keys.EXPERIMENTS)
        return sorted(map(_decode, stored.values()), key=lambda record: -record.started_at)
