"""How long versions and their log are kept."""

from __future__ import annotations

import pytest

from recsys.datatypes import Item
from recsys.serving import held_version
from recsys.state import redis_keys
from recsys.state.item_log import ItemLog, after
from recsys.state.membership import in_use
from recsys.state.presence import everyone
from recsys.versions.promotion import rollback
from recsys.versions.retention import prune
from tests.support.live_builds import build_live, everything, serve
from tests.support.world import World, catalogue, eventually


async def only_in_use(world: World, version: str) -> bool:
    """By what replicas and composers say in Redis, which pruning goes by."""
    return in_use(await everyone(world.redis, silent_too=True)) == {version}


@pytest.mark.usefixtures("hurried")
async def test_the_log_is_trimmed_behind_the_oldest_version_that_is_kept(make_world):
    """Three versions kept of five: two folders go, of the log what only they needed; replicas old and new agree."""
    world: World = await make_world(shards=1, items=catalogue(3))
    log, names = ItemLog(world.redis), [world.store.current()]
    for n in range(4):
        await world.gateway.items.upsert([Item(f"n{n}-{i}", f"{n} {i}") for i in range(5)], wait_visible=True)
        names.append((await build_live(world)).version)
        await serve(world, names[-1])
    assert await world.redis.xlen(redis_keys.log(0)) == 20
    holding = world.clients[0].replicas[0]
    assert await eventually(lambda: set(holding.versions) == {names[-1]}, 60)
    assert await eventually(lambda: only_in_use(world, names[-1]))
    done = await prune(world.store, world.redis, 3)
    assert done.versions == tuple(names[:2])
    assert done.entries == 10
    assert world.store.served() == names[:1:-1]
    assert [m.version for m in world.store.versions()] == names[2:]
    oldest = world.store.manifest(names[2]).shards[0].cursor
    assert all(after(e.sequence) > after(oldest) for e in await log.read(0, "0-0"))
    assert (await prune(world.store, world.redis, 3)).entries == 0
    await world.add_replica(0)
    assert [len(await everything(world)) for _ in range(2)] == [12 + 20] * 2
    await rollback(world.store, world.platform)
    await rollback(world.store, world.platform)
    assert await eventually(lambda: world.follower.serve.version == names[2])
    assert len(await everything(world)) == 12 + 20


@pytest.mark.usefixtures("hurried")
async def test_a_version_whose_log_is_gone_is_not_served(make_world, caplog):
    """It would lack what was trimmed: loading it is refused in words, and what is served stays up."""
    world: World = await make_world(shards=1, items=catalogue(3))
    first = world.store.current()
    await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    second = (await build_live(world)).version
    await serve(world, second)
    assert await eventually(lambda: set(world.clients[0].replicas[0].versions) == {second}, 60)
    await ItemLog(world.redis).trim(0, world.store.manifest(second).shards[0].cursor)
    world.store.promote(first)
    assert await eventually(lambda: "was trimmed to" in caplog.text)
    assert world.follower.serve.version == second
    assert "n" in await everything(world)


@pytest.mark.usefixtures("hurried")
async def test_going_back_and_forth_between_two_versions_loses_no_third(make_world):
    world: World = await make_world(shards=1, items=catalogue(2))
    names = [world.store.current(), *[(await build_live(world)).version for _ in range(2)]]
    for version in names[1:] * 30:
        world.store.promote(version)
    assert world.store.served() == names[::-1]
    await serve(world, names[2])
    assert await eventually(lambda: only_in_use(world, names[2]))
    assert (await prune(world.store, world.redis, 3)).versions == ()
    assert (await prune(world.store, world.redis, 2)).versions == (names[0],)


async def test_versions_in_use_are_not_removed(make_world, monkeypatch):
    """One that a replica still holds stays, with its log, however few are to be kept; so does one just built."""
    monkeypatch.setattr(held_version, "LINGER_S", 3600.0)
    world: World = await make_world(shards=1, items=catalogue(2))
    first = world.store.current()
    await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    second = (await build_live(world)).version
    await serve(world, second)
    third = (await build_live(world)).version
    assert (await prune(world.store, world.redis, 1)).versions == ()
    assert await world.redis.xlen(redis_keys.log(0)) == 1
    monkeypatch.setattr(held_version, "LINGER_S", 0.0)
    monkeypatch.setattr(held_version, "WITHDRAWN_S", 0.3)
    assert await eventually(lambda: set(world.clients[0].replicas[0].versions) == {second}, 60)

    async def pruned():
        return first in (await prune(world.store, world.redis, 1)).versions

    assert await eventually(pruned)
    assert [m.version for m in world.store.versions()] == [second, third]
    assert await world.redis.xlen(redis_keys.log(0)) == 0
