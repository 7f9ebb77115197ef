"""What Redis holds of the runs of unattended jobs."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis


async def last_run(redis: Redis, key: str) -> dict[str, str]:
    """The last run of a job: `started` and `finished` in Unix seconds, `reason`, and its result or `error`.

    Empty before the first run. `key`: `redis_keys.REBUILD` or `RETRAINING`.
    """
    fields: Any = await redis.hgetall(key)
    return {name.decode(): value.decode() for name, value in fields.items()}
