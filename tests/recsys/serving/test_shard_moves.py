"""The number of shards changes while a platform serves: nothing is lost, whatever is written and whenever."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Condition, Filter, Item, RecQuery
from recsys.errors import NotFound, RuntimeFailure, VersionError
from recsys.serving.item_writes import ItemWriter
from recsys.serving.version_follower import VersionFollower
from recsys.serving.written_layouts import WrittenLayouts
from recsys.state import redis_keys
from recsys.state.layouts import ENDED_S, read_layouts
from recsys.versions.moving import end_move, under_way
from recsys.versions.promotion import promote
from tests.support.live_builds import everything
from tests.support.moves import built_beside, switched, with_shards
from tests.support.world import World, catalogue, event, eventually

BY_TOPIC = RoutingSpec(by="attribute", attribute="topic", placed={"sea": [0, 2], "kitchen": [1], "forest": [1]})


class Traffic:
    """Reads, events, upserts and deletes, each of which checks its own answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.titles = {item.item_id: item.title for item in world.items}
        self.gone: dict[str, float] = {}
        self.answers = 0
        self.over = False

    async def read(self) -> None:
        while not self.over:
            asked = time.monotonic()
            found = await everything(self.world)
            assert not [i for i in found if self.gone.get(i, asked) < asked]
            self.answers += 1
            await asyncio.sleep(0.08)  # the builds need the core, too

    async def went_on(self) -> None:
        """Wait until some more answers have come."""
        before = self.answers
        assert await eventually(lambda: self.answers > before + 4, 60)

    async def like(self) -> None:
        """What a user has liked is not in the very next answer."""
        for n in itertools.count():
            if self.over:
                return
            item = f"kitchen-{n % 12}"
            await self.world.gateway.record([event(f"u{n}", item)])
            slate = await self.world.gateway.recommend(RecQuery(user_id=f"u{n}", k=1000))
            assert slate.degraded == ()
            assert item not in {r.item_id for r in slate.items}
            await asyncio.sleep(0.1)

    async def write(self, name: str) -> None:
        for n in itertools.count():
            if self.over:
                return
            item_id = f"{name}{n}"
            item = Item(item_id, f"title {item_id}", f"wave number {n}", {"topic": ("sea", "oven", "")[n % 3]})
            (written,) = await self.world.gateway.items.upsert([item], wait_visible=True)
            assert written.visible
            self.titles[item_id] = item.title
            assert (await self.world.gateway.items.item(item_id)).title == item.title
            if n % 3 == 0:
                assert (await self.world.gateway.items.delete(item_id, wait_visible=True)).visible
                self.gone[item_id] = time.monotonic()
                del self.titles[item_id]
                with pytest.raises(NotFound):
                    await self.world.gateway.items.item(item_id)
            await asyncio.sleep(0.08)


async def test_shards_change_under_reads_and_writes(make_world):
    """From 2 to 3, to a routing by topic with a large topic in two shards and small ones in one, to 1: no call fails,
    every answer is whole, what was acknowledged is found at once and what was deleted is not.
    """
    world: World = await make_world(items=catalogue(12), replicas=2)
    traffic = Traffic(world)

    async def moves() -> None:
        for shards, routing in ((3, RoutingSpec()), (3, BY_TOPIC), (1, RoutingSpec())):
            platform = with_shards(world, shards, routing=routing)
            manifest = await built_beside(world, platform)
            await switched(world, platform, manifest)
            await traffic.went_on()
            assert await end_move(world.store, world.redis, 60.0)
            if routing == BY_TOPIC:
                await partitions_are_used(world)
            await traffic.went_on()
        traffic.over = True

    async with asyncio.timeout(200), asyncio.TaskGroup() as group:
        for work in (moves(), traffic.read(), traffic.like(), traffic.write("a"), traffic.write("b")):
            group.create_task(work)
    assert await everything(world) == traffic.titles
    assert await eventually(lambda: not world.clients[2].replicas[0].versions, 60)
    assert all(replica.healthy() for client in world.clients for replica in client.replicas)


async def partitions_are_used(world: World) -> None:
    """A filter on a topic asks its shards alone."""
    before = [client.searches for client in world.clients]
    oven = Filter(must=(Condition("topic", "any", ("kitchen",)),))
    slate = await world.gateway.recommend(RecQuery(k=5, filter=oven))
    assert [r.item_id.partition("-")[0] for r in slate.items] == ["kitchen"] * 5
    assert slate.degraded == ()
    router = world.follower.serve.layout.router
    assert router.matching(oven) == {1}
    assert router.matching(Filter(must=(Condition("topic", "any", ("sea",)),))) == {0, 2}
    assert world.clients[1].searches > before[1]


async def test_a_move_that_dies_can_be_given_up_or_begun_again(make_world, redis):
    """The old shards answer all the while. Given up, nothing of the new layout is left, and a later move is another;
    begun again it is the same one, and holds what was written meanwhile.
    """
    world: World = await make_world(items=catalogue(3))
    platform = with_shards(world, 3)
    first = await built_beside(world, platform)
    await world.gateway.items.upsert([Item("n", "during")], wait_visible=True)
    assert [one.id for one in await under_way(world.store, redis)] == [first.layout]
    assert await end_move(world.store, redis, 60.0)
    assert await under_way(world.store, redis) == []
    left = [key async for key in redis.scan_iter("*@*")]
    assert left
    assert all([0 < await redis.ttl(key) <= ENDED_S for key in left])
    with pytest.raises(VersionError, match="was built for 3 shards, the served one has 2"):
        await promote(world.store, first.version, platform, redis)
    await world.gateway.items.upsert([Item("m", "after")], wait_visible=True)

    second = await built_beside(world, platform)
    await world.gateway.items.upsert([Item("k", "between")], wait_visible=True)
    again = await built_beside(world, platform)
    assert first.layout != second.layout == again.layout
    await switched(world, platform, again)
    assert {"n", "m", "k"} <= (await everything(world)).keys()
    other = await built_beside(world, with_shards(world, 1))
    assert await world.gateway.items.upsert([Item("j", "third")], wait_visible=True)
    assert {one.id for one in (await read_layouts(redis)).written} == {again.layout, other.layout}


async def test_a_writer_that_does_not_know_of_a_move_learns_of_it(make_world, redis):
    """Its write is refused by the epoch, and made again for both layouts: in one step, whichever is read later."""
    world: World = await make_world(items=catalogue(3))
    await world.gateway.items.upsert([Item("n", "one")], wait_visible=True)
    serve = world.follower.serve
    known = WrittenLayouts(redis, lambda: serve.layout)
    await known.read()  # of a composer that stands still from here on
    writer = ItemWriter(redis, known, lambda: serve.layout.id, kept_s=100)
    manifest = await built_beside(world, with_shards(world, 3))
    vectors = await world.encode(serve.version, ["two"])
    logged = await writer.upsert([Item("m", "two")], vectors, serve.fingerprint, await writer.ticket())
    assert {log.layout for log in logged.newest} == {serve.layout.id, manifest.layout}
    logs = [await redis.xlen(redis_keys.log(shard, manifest.layout)) for shard in range(3)]
    assert sum(logs) == 1
    await redis.delete(redis_keys.LAYOUTS)  # as when Redis loses them
    await world.gateway.items.upsert([Item("k", "three")], wait_visible=True)
    assert [one.id for one in (await read_layouts(redis)).written] == [world.follower.serve.layout.id]
    with pytest.raises(VersionError, match="was built for 3 shards"):
        await promote(world.store, manifest.version, with_shards(world, 3), redis)


async def test_the_move_ends_when_every_composer_is_there(make_world, redis):
    """One that still serves the shards of before, though it is silent, keeps them; a new composer starts in between."""
    world: World = await make_world(items=catalogue(3))
    platform = with_shards(world, 3)
    manifest = await built_beside(world, platform)
    late = VersionFollower("late", world.store, redis)
    await late.start(60)
    late.before_switch = _never
    await switched(world, platform, manifest)
    with pytest.raises(RuntimeFailure, match="1 composers do not serve"):
        await end_move(world.store, redis, 0.5)
    assert await world.gateway.items.upsert([Item("n", "in both")], wait_visible=True)
    newcomer = VersionFollower("newcomer", world.store, redis)
    await newcomer.start(60)
    assert newcomer.serve.version == manifest.version
    await newcomer.stop()
    await late.stop()
    assert await end_move(world.store, redis, 60.0)
    assert "n" in await everything(world)


async def _never(_: object) -> None:
    await asyncio.sleep(3600)
