"""The start of a composer: the version that it serves first, and when it is ready."""

from __future__ import annotations

import asyncio

import pytest

from recsys.errors import VersionError
from recsys.serving import shard_replica as replica_module
from recsys.serving import version_follower as following_module
from recsys.serving.version_follower import VersionFollower
from recsys.versions.store import MANIFEST
from tests.support.broken_versions import answers, damage, response_of, small, unopenable
from tests.support.world import World, catalogue, eventually


@pytest.fixture(autouse=True)
def _hurried(hurried, monkeypatch):
    monkeypatch.setattr(replica_module, "SAY_S", 0.1)
    monkeypatch.setattr(replica_module, "FOLLOW_S", 0.1)


async def test_a_new_composer_serves_what_its_sisters_serve(make_world):
    """CURRENT cannot be loaded: a composer that starts now takes the version before, at once, and is ready."""
    world: World = await small(make_world)
    old, bad = world.store.current(), world.publish().version
    world.store.promote(bad)
    damage(world, bad)
    late = VersionFollower("late", world.store, world.redis)
    await late.start(30)
    assert late.serve.version == old
    assert late.can_answer()
    await late.stop()
    assert await eventually(lambda: any(bad in r.rejections.reasons for r in world.clients[0].replicas))

    async def told() -> bool:
        said = (await response_of(world, "/v1/status")).json()
        return {(r["version"], "checksum" in r["reason"]) for r in said["rejected"]} == {(bad, True)}

    assert await eventually(told)


@pytest.mark.parametrize("damaged", [(0,), (1,), (0, 1)])
async def test_a_cold_start_goes_back_to_the_newest_version_that_can_be_served(make_world, damaged):
    """Whichever shards CURRENT cannot be loaded by: all agree on a version before, and follow the next promotion."""
    started: World = await make_world(shards=2, items=catalogue(3))
    versions = [started.store.current(), *(started.publish().version for _ in range(2))]
    for version in versions[1:]:
        started.store.promote(version)
    assert await eventually(lambda: started.follower.serve.version == versions[2])
    await started.__aexit__(None, None, None)
    await started.redis.flushall()
    for shard in damaged:
        damage(started, versions[2], shard)
        damage(started, versions[1], shard)
    again: World = await make_world(shards=2, items=catalogue(3))
    assert again.follower.serve.version == versions[0]
    assert await answers(again)
    assert (await response_of(again, "/readyz")).status_code == 200
    good = again.publish().version
    again.store.promote(good)
    assert await eventually(lambda: again.follower.serve.version == good)


async def test_a_composer_that_starts_when_nothing_can_be_loaded_says_so(make_world, tmp_path, redis):
    """Nothing opens: the error names the reason, and nothing runs on behind it."""
    world: World = await small(make_world)
    (world.store.folder(world.store.current()) / MANIFEST).write_text("{}")
    await world.redis.flushall()
    late = VersionFollower("late", world.store, world.redis)
    with pytest.raises(VersionError, match="manifest"):
        await late.start(0.3)
    assert not late.healthy()


async def test_ready_means_that_it_can_answer(make_world, monkeypatch):
    """Not while no shard holds what is served; and again as soon as one does. Health is another thing: a new composer
    could not do better.
    """
    world: World = await small(make_world)
    assert (await response_of(world, "/readyz")).json()["status"] == "ready"
    await asyncio.gather(*(r.stop() for r in world.clients[0].replicas))

    async def ready() -> bool:
        return (await response_of(world, "/readyz")).status_code == 200

    async def unready() -> bool:
        return not await ready()

    assert await eventually(unready)
    answer = await response_of(world, "/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert (await response_of(world, "/healthz")).status_code == 200
    monkeypatch.setattr(following_module, "HELPLESS_S", 0.0)
    assert world.follower.healthy()
    world.clients[0].replicas.clear()
    await world.add_replica(0)
    assert await eventually(ready)


async def test_a_composer_that_cannot_serve_what_shards_hold_is_not_healthy(make_world, monkeypatch):
    """Another process may open what this one cannot."""
    monkeypatch.setattr(following_module, "HELPLESS_S", 0.0)
    world: World = await small(make_world)
    assert world.follower.healthy()
    new = unopenable(world)
    damage(world, world.follower.serve.version)
    world.store.promote(new)
    for replica in [*world.clients[0].replicas]:
        await replica.stop()
    world.clients[0].replicas.clear()
    await world.add_replica(0)  # which holds the new one alone
    assert await eventually(lambda: not world.follower.healthy())
