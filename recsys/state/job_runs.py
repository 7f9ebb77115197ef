"""What is known of the runs of unattended jobs."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis


async def last_run(redis: Redis, key: str) -> dict[str, str]:
    """Of the last run of a job: started, finished (Unix seconds), reason, and what came of it or error; empty: none."""
    known: Any = await redis.hgetall(key)
    return {name.decode(): value.decode() for name, value in known.items()}
