"""The layouts that the item log is written for: one, or two while the shards of a running platform change.

Each layout has logs of its own. A write goes to the logs of every layout in one script, which first compares the epoch:
a process that does not know of a change yet is refused, and learns of it. So from the moment at which a layout is begun
each log of it holds every write, in the order in which the other layouts have them, whatever the writers know.

`begin` adds a layout. A version of it is built from the old logs as they end at one moment, and begins where the new
logs end at the same moment. `keep_only` ends the move, or gives it up: the other layouts' logs are deleted. Ids of
layouts are drawn at random, so a layout that was ended, whose log has a gap, is never taken for a later one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from recsys.config.platform import RoutingSpec
from recsys.errors import Unavailable
from recsys.routing import FIRST, Layout, Router, log_name
from recsys.state import redis_keys

EPOCH = "epoch"
_LIST = "layouts"
ENDED_S = 600
"""Seconds that the log of a layout lives which is written no longer. Its versions are dropped within ten."""
_TRIES = 20
"""Times that a change is tried again because another one came first."""

_CHANGE = f"""
-- KEYS: layouts; ARGV: the epoch that is replaced ('' for none), the new epoch, the new list
if (redis.call('HGET', KEYS[1], '{EPOCH}') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], '{EPOCH}', ARGV[2], '{_LIST}', ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class Layouts:
    """What stands in Redis."""

    epoch: str
    """Empty: nothing is stored."""
    written: tuple[Layout, ...]


async def read_layouts(redis: Redis) -> Layouts:
    """Return the layouts that are written; none where Redis has lost them, or the platform never ran."""
    stored: Any = await redis.hgetall(redis_keys.LAYOUTS)
    if not stored:
        return Layouts("", ())
    return Layouts(stored[EPOCH.encode()].decode(), tuple(map(_layout, orjson.loads(stored[_LIST.encode()]))))


async def ensure(redis: Redis, served: Layout) -> Layouts:
    """Return the layouts that are written. `served`, that of the promoted version, is added where it is missing."""
    for _ in range(_TRIES):
        stored = await read_layouts(redis)
        if served in stored.written:
            return stored
        # One of the same id and other shards is of versions that were removed by hand, and whose log it was.
        if await _replace(redis, stored, (*(one for one in stored.written if one.id != served.id), served)):
            for shard in range(served.router.shards):  # were it ended before, it would expire
                await redis.persist(redis_keys.log(shard, served.id))
    raise _busy()


async def begin(redis: Redis, served: Layout, router: Router) -> Layout:
    """Write for the shards of `router` from now on, beside those of the `served` layout. Return the new layout.

    A move to the same shards that is under way goes on. One to others is given up.
    """
    for _ in range(_TRIES):
        stored = await ensure(redis, served)
        begun = next((one for one in stored.written if one.id != served.id and one.router == router), None)
        if begun is not None:
            return begun
        new = Layout(secrets.token_hex(4), router)
        if await _replace(redis, stored, (served, new)):
            await _forget(redis, [one for one in stored.written if one.id != served.id])
            return new
    raise _busy()


async def keep_only(redis: Redis, layout: Layout) -> Sequence[Layout]:
    """Write for one layout alone from now on. Return the layouts that were ended."""
    for _ in range(_TRIES):
        stored = await ensure(redis, layout)
        ended = [one for one in stored.written if one != layout]
        if not ended:
            return ()
        if await _replace(redis, stored, (layout,)):
            await _forget(redis, ended)
            return ended
    raise _busy()


async def _replace(redis: Redis, before: Layouts, written: Sequence[Layout]) -> bool:
    listed = orjson.dumps([_record(layout) for layout in written])
    script = redis.register_script(_CHANGE)
    return bool(await script(keys=[redis_keys.LAYOUTS], args=[before.epoch, secrets.token_hex(8), listed]))


async def _forget(redis: Redis, layouts: Sequence[Layout]) -> None:
    """Let the logs of layouts expire. Nobody writes them any more: the list was changed before."""
    for layout in layouts:
        for shard in range(layout.router.shards):
            name = log_name(shard, layout.id)
            prints: Any = await redis.smembers(redis_keys.reencoders(name))
            pipe = redis.pipeline(transaction=False)
            for key in (redis_keys.log(shard, layout.id), redis_keys.reencoders(name)):
                pipe.expire(key, ENDED_S)
            for fingerprint in prints:
                pipe.expire(redis_keys.reencoded(name, fingerprint.decode()), ENDED_S)
            await pipe.execute()
    await _sweep(redis)


async def _sweep(redis: Redis) -> None:
    """Forget how far logs were trimmed that have expired."""
    written = {layout.id for layout in (await read_layouts(redis)).written}
    trimmed: Any = await redis.hkeys(redis_keys.TRIMMED)
    for name in (field.decode() for field in trimmed):
        shard, _, layout = name.partition("@")
        if (layout or FIRST) not in written and not await redis.exists(redis_keys.log(int(shard), layout or FIRST)):
            await redis.hdel(redis_keys.TRIMMED, name)


def _record(layout: Layout) -> dict[str, Any]:
    return {"id": layout.id, "shards": layout.router.shards, "routing": layout.router.spec.model_dump(mode="json")}


def _layout(record: dict[str, Any]) -> Layout:
    return Layout(record["id"], Router(RoutingSpec.model_validate(record["routing"]), int(record["shards"])))


def _busy() -> Unavailable:
    return Unavailable("the shards' layouts are being changed by others; try again")
