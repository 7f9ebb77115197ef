"""A replica that stood still, and what it answers when it wakes."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from recsys.datatypes import RecQuery
from recsys.errors import Unavailable
from recsys.serving.held_version import HeldVersion
from recsys.serving.log_applier import LogApplier
from recsys.serving.standstill import LONGEST_S
from recsys.shard.probes import nearest_query
from recsys.state.connection import connect
from recsys.state.item_log import Delete, ItemLog
from tests.support.clock import Clock
from tests.support.world import World, catalogue


def stand_still(clock: Clock) -> None:
    """Nothing of this loop runs for a while."""
    clock.forward(LONGEST_S + 0.3)


def miss_a_deletion(clock: Clock, world: World, item_id: str) -> None:
    """Stand still while the item is deleted, as another process would do it."""
    url = world.redis.connection_pool.connection_kwargs

    async def delete() -> None:
        redis = connect(f"unix://{url['path']}") if "path" in url else connect(f"redis://{url['host']}:{url['port']}")
        await ItemLog(redis).append([(0, Delete(item_id))])
        await redis.aclose()

    other = threading.Thread(target=lambda: asyncio.run(delete()))
    other.start()
    other.join()
    stand_still(clock)


async def test_a_replica_that_wakes_reads_the_log_before_it_answers(clock, make_world):
    """What was deleted while it stood still is in none of its answers, not even the first."""
    world: World = await make_world(shards=1, items=catalogue(4))
    (replica,) = world.clients[0].replicas
    version = world.store.current()
    shard = replica.versions[version].shard
    query = nearest_query(version, shard.items.vectors(shard.items.live_rows()[:1]), 16)
    assert "sea-2" in (await replica.search(query)).ids.strings()
    miss_a_deletion(clock, world, "sea-2")
    after = await replica.search(query)
    assert "sea-2" not in after.ids.strings()


async def test_a_lookup_waits_as_a_search_does(clock, make_world):
    """An item that was deleted meanwhile is not told of, and its vector is not given."""
    world: World = await make_world(shards=1, items=catalogue(4))
    (replica,) = world.clients[0].replicas
    version = world.store.current()
    miss_a_deletion(clock, world, "sea-2")
    assert await replica.items(version, ["sea-2"]) == []
    miss_a_deletion(clock, world, "sea-1")
    assert (await replica.vectors(version, ["sea-1", "sea-0"]))[0] == ("sea-0",)


async def test_without_redis_a_replica_that_wakes_answers_from_what_it_has(clock, make_world, monkeypatch):
    """Nothing is acknowledged without Redis: so there is nothing that it has to read first."""
    world: World = await make_world(shards=1, items=catalogue(4))

    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("Redis is away")

    monkeypatch.setattr(LogApplier, "catch_up", away)
    stand_still(clock)
    slate = await world.gateway.recommend(RecQuery(k=3))
    assert len(slate.items) == 3


async def test_a_replica_that_cannot_read_in_time_says_so(make_world):
    """The caller asks a sister then."""
    world: World = await make_world(shards=1, items=catalogue(4))
    held: HeldVersion = world.clients[0].replicas[0].versions[world.store.current()]
    with pytest.raises(Unavailable, match="stood still"):
        await held.read_again(time.monotonic() + 60.0, 0.05)
