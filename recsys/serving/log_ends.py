"""How far replicas should have applied the item logs before a version is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from redis.asyncio import Redis

from recsys.routing import Layout
from recsys.state.item_log import START_OF_LOG, ItemLog, LogId, after


async def ends_of(redis: Redis, layout: Layout) -> dict[LogId, str]:
    """Return the sequence number of the last entry of each log of the layout. Raises RedisError and OSError."""
    numbers = range(layout.router.shards)
    ends = await ItemLog(redis, layout.id).newest(numbers)
    return {LogId(layout.id, number): end for number, end in zip(numbers, ends, strict=True)}


async def new_ends(redis: Redis, served: Layout | None, layouts: Iterable[Layout | None]) -> dict[LogId, str]:
    """Return `ends_of` the layouts that are not the served one. Raises RedisError and OSError.

    No replica that serves follows these logs, so none says how far the new one should have come. None: unknown.
    """
    ends: dict[LogId, str] = {}
    for layout in {one.id: one for one in layouts if one is not None}.values():
        if served is not None and layout.id != served.id:
            ends |= await ends_of(redis, layout)
    return ends


async def in_log(redis: Redis, layout: Layout, reached: Mapping[LogId, str]) -> dict[LogId, str]:
    """Return `reached`, limited to the end of each log: no replica can apply entries that Redis has lost.

    Raises RedisError and OSError.
    """
    ends = await ends_of(redis, layout)
    return {log: min(reached.get(log, START_OF_LOG), end, key=after) for log, end in ends.items()}
