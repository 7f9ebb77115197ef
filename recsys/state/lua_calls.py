"""A Lua script that is run many times in one trip to Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError, NoScriptError, ResponseError  # noqa: A004 - redis's own is meant

from recsys.state.connection import Client
from recsys.state.redis_keys import Key

Call = tuple[Sequence[Key], Sequence[str | bytes | float]]
"""Keys and arguments."""

_FEW, _SHORT = 32, 1000
"""Calls of a trip over the connection that others share, and their arguments: a millisecond of Redis, and half a
megabyte of profiles. Longer trips have a connection of their own.
"""


async def run_many(redis: Redis, script: AsyncScript, calls: Sequence[Call]) -> list[Any]:
    """Run the script once for each call, in one trip. Return the answers in the order of the calls.

    A call must have the same effect when it is made twice: a Redis that was restarted, or is another one, does not have
    the script, so it is loaded and all calls are made again. redis-py's own pipelines ask Redis for the script before
    every trip, which is another trip.
    """
    if not calls:
        return []
    if isinstance(redis, Client) and len(calls) <= _FEW and sum(len(args) for _, args in calls) <= _SHORT:
        # What fails is done as redis-py does it, which finds another server, and knows what is refused.
        with suppress(ConnectionError, ResponseError):
            return await redis.trip([("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls])
    try:
        return await _run(redis, script, calls)
    except NoScriptError:
        await redis.script_load(script.script)
        return await _run(redis, script, calls)


async def next_number(redis: Redis, key: Key) -> Any:
    """Count one further. Where the answer is lost a number is left out."""
    if isinstance(redis, Client):
        with suppress(ConnectionError, ResponseError):
            [number] = await redis.trip([("INCR", key)])
            return number
    return await redis.incr(key)


async def _run(redis: Redis, script: AsyncScript, calls: Sequence[Call]) -> list[Any]:
    pipe = redis.pipeline(transaction=False)
    for keys, args in calls:
        pipe.evalsha(script.sha, len(keys), *keys, *args)
    return await pipe.execute()
