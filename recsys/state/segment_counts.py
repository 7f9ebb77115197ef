"""Likes of items by segment of users in Redis, as the scripts of `item_counts.py` count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from recsys.state import redis_keys

Likes = Sequence[tuple[str, float]]
"""Item ids with their weighted likes, the most liked first."""


async def most_liked(redis: Redis, count: int) -> dict[str, Likes]:
    """Return the `count` most liked items of each segment, which is named by its value as JSON. Two trips."""
    names: Any = await redis.smembers(redis_keys.SEGMENTS)
    values = sorted(name.decode() for name in names)
    pipe = redis.pipeline(transaction=False)
    for value in values:
        pipe.zrevrange(redis_keys.segment(value), 0, count - 1, withscores=True)
    answers: list[Any] = await pipe.execute() if values else []
    return {v: [(item.decode(), likes) for item, likes in rows] for v, rows in zip(values, answers, strict=True)}
