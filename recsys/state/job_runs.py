"""The last run of each unattended job, kept in Redis."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import orjson
from redis.asyncio import Redis

from recsys.state import redis_keys


async def last_run(redis: Redis, key: str) -> dict[str, str]:
    """Return the last run of a job: `started` and `finished` in Unix seconds, `reason`, and its result or `error`.

    It is empty before the first run, and has no `finished` while a run is under way or when it died. `key`:
    `redis_keys.REBUILD` or `RETRAINING`.
    """
    fields: Any = await redis.hgetall(key)
    return {name.decode(): value.decode() for name, value in fields.items()}


async def last_runs(redis: Redis) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The last rebuild and the last retraining, as `last_run` has them, the latter with its comparison parsed."""
    rebuilt, retrained = [await last_run(redis, key) for key in (redis_keys.REBUILD, redis_keys.RETRAINING)]
    if "comparison" in retrained:
        return rebuilt, {**retrained, "comparison": orjson.loads(retrained["comparison"])}
    return rebuilt, retrained


async def record_first(redis: Redis, key: str) -> None:
    """Record a run that began and ended now: the schedule is new, and the first real run is due after a period."""
    now = repr(time.time())
    await redis.hset(key, mapping={"started": now, "finished": now})


async def record_start(redis: Redis, key: str, reason: str) -> None:
    """Replace the last run by one that starts now."""
    pipe = redis.pipeline(transaction=True)
    pipe.delete(key)
    pipe.hset(key, mapping={"started": repr(time.time()), "reason": reason})
    await pipe.execute()


async def record_end(redis: Redis, key: str, outcome: Mapping[str, str]) -> None:
    """Record that the run has ended, and its outcome: a version, a result in words, or an `error`."""
    fields: dict[Any, Any] = {**outcome, "finished": repr(time.time())}
    await redis.hset(key, mapping=fields)


def unix_seconds_of(run: Mapping[str, str], name: str) -> float | None:
    """Return `started` or `finished` of a run in Unix seconds. None: it is missing or not a finite number."""
    try:
        seconds = float(run.get(name, "nan"))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
