"""Writes at every step of a move to other shards, drawn by hypothesis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Item
from recsys.errors import VersionError
from recsys.versions.moving import end_move
from recsys.versions.promotion import rollback
from tests.support.live_builds import everything
from tests.support.moves import built_beside, switched, with_shards
from tests.support.threaded_world import ThreadedWorld
from tests.support.world import World, catalogue, eventually

BY_TOPIC = RoutingSpec(by="attribute", attribute="topic")
PLACED = RoutingSpec(by="attribute", attribute="topic", placed={"sea": [0, 2], "kitchen": [1], "forest": [1]})
TARGETS = [(3, RoutingSpec()), (1, RoutingSpec()), (3, PLACED), (2, BY_TOPIC)]
Write = tuple[str, str, str]
ids = st.sampled_from([f"sea-{n}" for n in range(4)] + [f"new-{n}" for n in range(4)])
writes = st.lists(st.tuples(st.sampled_from(["upsert", "upsert", "delete"]), ids, st.sampled_from(["sea", "forest"])))
STAGES = ("before", "begun", "built", "promoted", "back", "again", "ended")


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedWorld]:
    """16 items, in two shards at first."""
    with ThreadedWorld(tmp_path_factory.mktemp("moves"), items=catalogue(4)) as started:
        yield started


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stages=st.tuples(*[writes] * len(STAGES)), to=st.sampled_from(TARGETS))
def test_both_layouts_hold_what_was_written(
    threaded: ThreadedWorld, stages: tuple[list[Write], ...], to: tuple[int, RoutingSpec]
) -> None:
    """Writes before the move, during the build, between promotion and a rollback, and after it: each layout that is
    served holds what was acknowledged, and no more.
    """
    threaded.run(_moved_under(threaded.world, dict(zip(STAGES, stages, strict=True)), *to))


async def _moved_under(world: World, stages: Mapping[str, Sequence[Write]], shards: int, routing: RoutingSpec) -> None:
    gateway = world.gateway
    if (world.follower.serve.layout.router.shards, world.follower.serve.layout.router.spec) == (shards, routing):
        shards, routing = 2, RoutingSpec()
    expected = await everything(world)

    async def write(stage: str) -> None:
        for n, (what, item_id, topic) in enumerate(stages[stage]):
            if what == "upsert":
                item = Item(item_id, f"{stage} {n}", f"{topic} {n}", {"topic": topic})
                await gateway.items.upsert([item], wait_visible=False)
                expected[item_id] = item.title
            elif item_id in expected:
                await gateway.items.delete(item_id, wait_visible=False)  # whether it is applied yet or not
                del expected[item_id]

    async def is_served() -> bool:
        return await everything(world) == expected

    await write("before")
    platform = with_shards(world, shards, routing=routing)
    building = asyncio.create_task(built_beside(world, platform))
    await write("begun")
    manifest = await building
    await write("built")
    await switched(world, platform, manifest)
    assert await eventually(is_served)
    await write("promoted")
    earlier = await rollback(world.store, platform, world.redis)
    assert await eventually(lambda: world.follower.serve.version == earlier.version)
    assert await eventually(is_served)
    await write("back")
    await switched(world, platform, manifest)
    assert await eventually(is_served)
    await write("again")
    assert await end_move(world.store, world.redis, 60.0)
    await write("ended")
    assert await eventually(is_served)
    with pytest.raises(VersionError, match="was built for"):
        await rollback(world.store, platform, world.redis)
