"""What composers serve, and what shards keep for them, when versions, Redis or the object store let them down."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.exceptions import RedisError

from recsys.config.encoder import EncoderSpec
from recsys.datatypes import Item
from recsys.errors import VersionError
from recsys.serving import shard_replica as replica_module
from recsys.serving.background import forever
from recsys.serving.popularity_feed import PopularityFeed
from recsys.serving.shard_replica import ShardReplica
from recsys.serving.version_follower import VersionFollower
from recsys.shard.shard import Shard
from recsys.state.item_log import Delete, ItemLog, Upsert
from recsys.state.membership import WIRE, ComposerMember, ShardMember, VersionState
from recsys.state.presence import Presence, everyone
from recsys.versions.fallbacks import Servable
from tests.support.broken_versions import answers, damage, response_of, small, unopenable
from tests.support.world import World, event, eventually


@pytest.fixture(autouse=True)
def _hurried(hurried, monkeypatch):
    monkeypatch.setattr(replica_module, "SAY_S", 0.1)
    monkeypatch.setattr(replica_module, "FOLLOW_S", 0.1)


async def held_by_all(world: World, *versions: str) -> bool:
    return all(set(r.versions) == set(versions) for client in world.clients for r in client.replicas)


async def test_a_version_that_composers_cannot_open_takes_nothing_away(make_world):
    """The composer is heard on, says why in its status, and the shards keep what it serves; it goes on when mended."""
    world: World = await small(make_world)
    old, new = world.store.current(), unopenable(world)
    world.store.promote(new)
    assert await eventually(lambda: held_by_all(world, old, new))
    assert await eventually(lambda: new in world.follower.rejections.reasons)
    await asyncio.sleep(1.5)  # several times what unused versions are kept
    assert await held_by_all(world, old, new)
    assert world.follower.serve.version == old
    assert await answers(world)
    assert world.follower.healthy()
    said = (await response_of(world, "/v1/status")).json()
    assert (said["index_version"], said["promoted_version"]) == (old, new)
    assert [(r["version"], r["by"]) for r in said["rejected"]] == [(new, "composer")]
    world.store.promote(world.publish().version)
    assert await eventually(lambda: world.follower.serve.version == world.store.current())
    assert world.follower.rejections.among([world.store.current()]) == 0


async def test_a_redis_that_refuses_writes_takes_nothing_away(own_redis, make_world):
    """Nobody can say that he is there. A promotion in that time changes nothing until words are taken again; a replica
    and a composer that start in that time serve.
    """
    world: World = await small(make_world, redis=own_redis)
    old = world.store.current()
    await own_redis.config_set("maxmemory", 1)
    with pytest.raises(RedisError):
        await own_redis.set("x", "y")
    new = world.publish().version
    world.store.promote(new)
    assert await eventually(lambda: held_by_all(world, old, new))
    await asyncio.sleep(1.5)
    assert await held_by_all(world, old, new)
    assert world.follower.serve.version == old
    assert await answers(world)
    late = await world.add_replica(0)
    assert old in late.versions
    second = VersionFollower("second", world.store, own_redis)
    await second.start(60)
    assert second.serve.version == old
    await second.stop()
    assert await answers(world)
    await own_redis.config_set("maxmemory", 0)
    assert await eventually(lambda: world.follower.serve.version == new)
    assert await eventually(lambda: held_by_all(world, new))


async def test_versions_are_kept_for_composers_that_are_not_heard(make_world, monkeypatch):
    """A composer's last word counts until it takes it back or says another one."""
    world: World = await small(make_world)
    old = world.store.current()
    other = Presence(world.redis, ComposerMember("cut off", serving=old), ())
    await other.say()
    await world.redis.zincrby("recsys:heard:composer", -60_000, "cut off")
    world.store.promote(world.publish().version)
    new = world.store.current()
    assert await eventually(lambda: world.follower.serve.version == new)
    await asyncio.sleep(1.5)
    assert await held_by_all(world, old, new)
    await other.leave()
    assert await eventually(lambda: held_by_all(world, new))


async def test_nothing_is_dropped_while_no_composer_has_spoken(make_world):
    """An emptied Redis says nothing about what composers serve."""
    world: World = await small(make_world)
    old = world.store.current()
    await world.follower.stop()
    await world.redis.flushall()
    world.store.promote(world.publish().version)
    assert await eventually(lambda: held_by_all(world, old, world.store.current()))
    await asyncio.sleep(1.5)
    assert await held_by_all(world, old, world.store.current())


async def test_a_store_that_fails_in_its_own_way_ends_nothing(make_world, monkeypatch):
    """An object store's errors are of its library's family: composer and shards go on, and follow again later."""

    class EndpointConnectionError(Exception): ...

    world: World = await small(make_world)
    version, plain, calls = world.store.current(), world.store.served, []

    def broken() -> list[str]:
        calls.append(1)
        raise EndpointConnectionError("no connection to the endpoint")

    monkeypatch.setattr(world.store, "served", broken)
    assert await eventually(lambda: len(calls) > 6)
    assert world.follower.healthy()
    assert all(r.healthy() for r in world.clients[0].replicas)
    assert await answers(world)
    assert {m.id for m in await everyone(world.redis)} == {"composer", "r0", "r1"}
    monkeypatch.setattr(world.store, "served", plain)
    world.store.promote(world.publish().version)
    assert await eventually(lambda: world.follower.serve.version not in (None, version))


async def test_popularity_goes_on_when_a_version_is_dropped_under_it(make_world, monkeypatch):
    """The look at one version's numbers takes for ever: it ends with the version, and the other one's numbers come."""
    world: World = await small(make_world, replicas=1)
    (replica,) = world.clients[0].replicas
    old = world.store.current()
    stuck, follow = asyncio.Event(), PopularityFeed.follow

    async def slow(self: PopularityFeed, shard: Shard) -> None:
        if shard.version != old and shard.version in replica.versions:
            stuck.set()
            await asyncio.sleep(3600)
        await follow(self, shard)

    monkeypatch.setattr(PopularityFeed, "follow", slow)
    world.store.promote(world.publish().version)
    async with asyncio.timeout(60):
        await stuck.wait()
        await replica.versions[world.store.current()].retire()
    await world.gateway.record([event("u", "sea-1")])
    items = replica.versions[old].shard.items
    assert await eventually(lambda: items.counts.view[items.row("sea-1")] == 1.0)


async def test_a_lost_end_of_the_log_does_not_hold_up_a_version(make_world):
    """Replicas have applied entries that Redis has no more: a version built of the rest is served all the same."""
    world: World = await small(make_world)
    await world.gateway.items.upsert([Item("kept", "kept")], wait_visible=True)
    (lost,) = await world.gateway.items.upsert([Item("lost", "lost")], wait_visible=True)
    await world.redis.xdel("recsys:log:0", lost.sequence)
    version = world.publish().version
    world.store.promote(version)
    assert await eventually(lambda: world.follower.serve.version == version)


async def test_a_key_has_its_share_while_nobody_is_heard(own_redis, make_world):
    """Three composers that cannot say that they are there still share a key's rate."""
    world: World = await small(make_world, redis=own_redis)
    for name in ("b", "c"):
        await Presence(own_redis, ComposerMember(name), ()).say()
    assert await eventually(lambda: world.follower.members.composer_count == 3)
    await own_redis.config_set("maxmemory", 1)
    await asyncio.sleep(1.5)
    assert world.follower.members.composer_count == 3


async def test_a_change_is_seen_by_many_who_wait_for_it(make_world):
    """They share their looks, and each learns of its own change."""
    world: World = await small(make_world, replicas=1)
    before, start = await looks(world), time.monotonic()
    writes = [world.gateway.items.upsert([Item(f"n{n}", "new")], wait_visible=True) for n in range(40)]
    assert all(w.visible for written in await asyncio.gather(*writes) for w in written)
    assert not await world.follower.members.until(lambda group: False, 0.2)
    waited_s = time.monotonic() - start
    assert 0 < await looks(world) - before < 2 * waited_s / 0.01  # one writer alone looks every 10 ms


async def looks(world: World) -> int:
    """Looks at the shards' and the composers' records that Redis has answered."""
    calls = (await world.redis.info("commandstats")).get("cmdstat_hlen", {"calls": 0})["calls"]
    return int(calls) // 2


async def test_nobody_goes_back_to_a_version_of_other_shards(make_world):
    """The platform has other shards since: of an older version each would hold a part, and items would be missing."""
    world: World = await small(make_world, shards=2)
    await world.__aexit__(None, None, None)
    await world.redis.flushall()
    one_shard = world.platform.model_copy(update={"shards": 1})
    new = world.publish(platform=one_shard).version
    world.store.promote(new)
    damage(world, new)
    replica = ShardReplica(0, "r", world.store, world.redis, world.encode)
    with pytest.raises(VersionError, match="checksum"):
        await replica.start()
    await replica.stop()
    assert len(world.store.served()) == 2
    assert Servable(world.store).read() == [new]


async def test_a_version_is_served_though_getting_ready_for_it_fails(make_world):
    """What is done before a switch only saves work."""
    world: World = await small(make_world)
    asked_for: list[str] = []

    async def fails(serve: Any) -> None:
        asked_for.append(serve.version)
        raise KeyError("profiles")

    world.follower.before_switch = fails
    new = world.publish().version
    world.store.promote(new)
    assert await eventually(lambda: world.follower.serve.version == new)
    assert asked_for == [new]


async def test_a_version_whose_log_stands_still_is_not_served(make_world, monkeypatch):
    """No encoder answers for it: what was deleted and written since its snapshot would be back, or gone."""
    world: World = await small(make_world, replicas=1)
    old = world.store.current()
    other = world.platform.model_copy(update={"encoder": EncoderSpec(kind="hashing", dimension=24)})
    new = world.publish(platform=other).version
    ghost = Presence(world.redis, ShardMember("ghost", 0, wire=WIRE, versions={old: VersionState("0-0")}), ())
    await ghost.say()  # a replica that has not loaded the new one yet: the composer waits for it
    speaking = asyncio.create_task(forever("ghost", ghost.say, 0.5))
    world.store.promote(new)
    assert await eventually(lambda: held_by_all(world, old, new))
    vectors = await world.encode(old, ["kitchen"])
    world.encoder_down = True
    fingerprint = world.follower.serve.fingerprint
    await ItemLog(world.redis).append(
        [(0, Upsert(Item("w", "kitchen"), vectors[0], fingerprint)), (0, Delete("sea-0"))]
    )
    (replica,) = world.clients[0].replicas
    end = await ItemLog(world.redis).end(0)
    assert await eventually(lambda: replica.versions[old].shard.cursor == end)

    def told() -> bool:
        return any(m.versions[old].cursor == end for m in world.follower.members.replicas(0) if old in m.versions)

    assert await eventually(told)
    turns, keep = [], world.follower.rejections.keep
    monkeypatch.setattr(world.follower.rejections, "keep", lambda versions: turns.append(1) or keep(versions))
    assert await eventually(lambda: len(turns) > 2)  # the composer has noted how far the log was applied
    speaking.cancel()
    await asyncio.wait([speaking])
    await ghost.leave()
    await asyncio.sleep(1.0)
    assert world.follower.serve.version == old
    world.encoder_down = False
    assert await eventually(lambda: world.follower.serve.version == new)
    assert (await world.gateway.items.item("w")).title == "kitchen"
