"""Waiting until a promoted version is served."""

from __future__ import annotations

import asyncio

import pytest

from recsys.errors import RuntimeFailure, VersionError
from recsys.jobs.switching import until_gone, until_served
from recsys.state.membership import WIRE, ComposerMember, ShardMember
from recsys.state.presence import Presence, everyone


async def test_a_promotion_has_come_when_every_composer_serves_it(make_world, shared_valkey, redis):
    """And not before; where no composer runs there is nothing to wait for."""
    world = await make_world(shards=2)
    first = world.store.current()
    assert await until_served(world.store, first, world.platform, shared_valkey.url, 10) == 1
    second = world.publish().version
    world.store.promote(second)
    assert await until_served(world.store, second, world.platform, shared_valkey.url, 30) == 1
    assert [serving.serving for serving in await everyone(redis) if isinstance(serving, ComposerMember)] == [second]
    assert await until_served(world.store, "v1", world.platform, None, 10) == 0


async def test_what_does_not_come_is_told(make_world, shared_valkey, redis):
    """A composer that stays behind, one that cannot open the version, and another promotion, each by name."""
    world = await make_world(shards=1)
    version = world.store.current()
    slow = Presence(redis, ComposerMember(id="slow", serving="v0"), ())
    await slow.say()
    with pytest.raises(RuntimeFailure, match=rf"{version} is promoted, and 1 composers do not serve it .* slow"):
        await until_served(world.store, version, world.platform, shared_valkey.url, 0.2)
    await slow.say(lambda _: ComposerMember(id="slow", serving="v0", rejected={version: "its file is damaged"}))
    with pytest.raises(VersionError, match=r"slow cannot open .*: its file is damaged"):
        await until_served(world.store, version, world.platform, shared_valkey.url, 10)
    await slow.say(lambda _: ComposerMember(id="slow", serving="v0"))
    waiting = asyncio.create_task(until_served(world.store, version, world.platform, shared_valkey.url, 30))
    await asyncio.sleep(0.3)
    world.store.promote(other := world.publish().version)
    with pytest.raises(VersionError, match=f"{other} was promoted meanwhile"):
        await waiting


@pytest.mark.parametrize("leaves", [True, False])
async def test_shards_are_gone_when_nobody_is_told_of_their_replicas(make_world, shared_valkey, redis, leaves):
    """One that signs off is gone at once; one that was killed, when its silence counts."""
    world = await make_world(shards=2)
    third = Presence(redis, ShardMember(id="third", shard=2, wire=WIRE), ())
    await third.say()
    await world.follower.members.refresh()
    assert 2 in world.follower.members.group
    with pytest.raises(RuntimeFailure, match="shard-2: still present after 0 s"):
        await until_gone(2, world.platform, shared_valkey.url, 0.1)
    waiting = asyncio.create_task(until_gone(2, world.platform, shared_valkey.url, 30))
    if leaves:
        await third.leave()
    await waiting
    await world.follower.members.refresh()
    assert sorted(world.follower.members.group) == [0, 1]
    await until_gone(3, world.platform, shared_valkey.url, 0.1)
