"""What is known of users beside their events: declared attributes, a hash for each user in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from recsys.datatypes import AttributeValue
from recsys.state import redis_keys

Attributes = Mapping[str, AttributeValue]


class UserAttributes:
    """`ttl_s`: seconds after the last change in which they expire; None: never."""

    def __init__(self, redis: Redis, ttl_s: int | None) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    async def load(self, user_ids: Sequence[str]) -> dict[str, dict[str, AttributeValue]]:
        """Of each user; empty where nothing is known. One trip."""
        pipe = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.hgetall(redis_keys.about(user_id))
        answers: list[Any] = await pipe.execute()
        return {
            user_id: {name.decode(): orjson.loads(value) for name, value in fields.items()}
            for user_id, fields in zip(user_ids, answers, strict=True)
        }

    async def replace(self, user_id: str, attributes: Attributes) -> None:
        """Store these and no others."""
        await self._write(user_id, attributes, (), whole=True)

    async def change(self, user_id: str, attributes: Attributes, gone: Sequence[str]) -> None:
        """Store these beside the others, and drop those that are `gone`."""
        await self._write(user_id, attributes, gone, whole=False)

    async def erase(self, user_id: str) -> None:
        await self._redis.delete(redis_keys.about(user_id), redis_keys.shown(user_id))

    async def _write(self, user_id: str, attributes: Attributes, gone: Sequence[str], *, whole: bool) -> None:
        key, pipe = redis_keys.about(user_id), self._redis.pipeline(transaction=True)
        if whole:
            pipe.delete(key)
        if attributes:
            pipe.hset(key, mapping={name: orjson.dumps(value) for name, value in attributes.items()})
        if gone:
            pipe.hdel(key, *gone)
        if self._ttl_s is not None:
            pipe.expire(key, self._ttl_s)
        await pipe.execute()
