"""A connection to Redis for jobs, with a longer timeout than requests have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.platform import Platform
from recsys.errors import Unavailable
from recsys.state.connection import connect

_PATIENCE_S = 30.0
"""Timeout of one answer, in seconds."""


@asynccontextmanager
async def patient_redis(url: str, platform: Platform, then: str) -> AsyncIterator[Redis]:
    """Yield the platform's Redis at `url`. Raises Unavailable when it does not answer; `then` ends its message."""
    try:
        async with connect(url, timeout_s=_PATIENCE_S, prefix=platform.redis_prefix) as redis:
            yield redis
    except RedisError as error:
        raise Unavailable(f"Redis does not answer ({error}); {then}") from error
