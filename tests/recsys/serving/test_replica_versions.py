"""The versions that a shard's replica holds: loaded, kept and dropped."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.errors import Unavailable, VersionError
from recsys.serving import held_version
from recsys.serving.shard_replica import ShardReplica
from recsys.state.item_log import ItemLog
from recsys.state.membership import ComposerMember, ShardMember
from recsys.state.presence import Presence, everyone
from recsys.versions.store import VersionStore
from tests.support.replicas import contents, one_shard, upsert
from tests.support.world import World, eventually


async def test_a_promoted_version_is_loaded_beside_and_the_old_one_dropped(make_world, monkeypatch):
    """Both answer while a composer serves the old; when none does any more it goes, and its log task with it."""
    monkeypatch.setattr(held_version, "LINGER_S", 0.1)
    monkeypatch.setattr(held_version, "WITHDRAWN_S", 0.3)
    world: World = await one_shard(make_world)
    (replica,) = world.clients[0].replicas
    old = world.store.current()
    await world.follower.stop()
    slow = Presence(world.redis, ComposerMember("slow", serving=old), ())
    await slow.say()
    new = world.publish([*world.items, Item("only new")]).version
    world.store.promote(new)
    assert await eventually(lambda: set(replica.versions) == {old, new})
    await asyncio.sleep(1.5)  # several looks, and much longer than an unused version is kept
    assert (await replica.vectors(old, ["sea-1"]))[0] == ("sea-1",)
    assert (await replica.items(new, ["only new"])) == [Item("only new")]
    assert await replica.items(old, ["only new"]) == []
    await slow.say(lambda member: structs.replace(member, serving=new))
    assert await eventually(lambda: set(replica.versions) == {new})
    with pytest.raises(Unavailable, match=old):
        await replica.items(old, ["sea-1"])
    assert replica.healthy()

    def followed() -> set[str]:
        return {t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("log:")}

    assert await eventually(lambda: followed() == {f"log:{new}"})


async def test_a_version_that_is_used_again_lingers_again(make_world, monkeypatch):
    """Promoted back and away again, it is kept from the second leave-taking on, not from the first."""
    monkeypatch.setattr(held_version, "LINGER_S", 1e6)
    world: World = await one_shard(make_world)
    (replica,) = world.clients[0].replicas
    first = world.store.current()
    second = world.publish().version
    world.store.promote(second)
    assert await eventually(lambda: replica.versions[first].unused)
    world.store.rollback()
    assert await eventually(lambda: replica.versions[second].unused and not replica.versions[first].unused)


async def test_a_new_replica_holds_what_composers_serve(make_world):
    """It starts while a promoted version is not served yet: it loads both, and answers for both at once."""
    world: World = await one_shard(make_world)
    old = world.store.current()
    await world.follower.stop()
    await Presence(world.redis, ComposerMember("c", serving=old), ()).say()
    new = world.publish().version
    world.store.promote(new)
    replica = await world.add_replica(0)
    assert set(replica.versions) == {old, new}


async def test_a_version_promoted_while_a_replica_starts_is_loaded_too(make_world, monkeypatch):
    """Start ends only when the replica holds what is current by then."""
    world: World = await one_shard(make_world)
    load, started = held_version.open_shard, []
    newer = world.publish().version

    def slow(store: VersionStore, version: str, shard: int):
        loaded = load(store, version, shard)
        if store is own and not started:
            started.append(version)
            world.store.promote(newer)
        return loaded

    own = VersionStore(world.store.root)
    other = ShardReplica(0, "second", own, world.redis, world.encode)
    monkeypatch.setattr(held_version, "open_shard", slow)
    await other.start()
    try:
        assert newer in other.versions
    finally:
        await other.stop()


async def test_a_corrupt_version_leaves_the_served_one_up(make_world, caplog):
    """It is refused again and again, the replica goes on, is heard of, and writes still arrive."""
    world: World = await one_shard(make_world)
    (replica,) = world.clients[0].replicas
    old = world.store.current()
    bad = world.publish().version
    world.store.promote(bad)
    world.store.promote(old)
    (world.store.folder(bad) / "shard-0" / "vectors.npy").write_bytes(b"?")
    (world.store.root / "CURRENT").write_text(f'{{"version": "{bad}"}}')
    assert await eventually(lambda: "checksum" in caplog.text)
    await ItemLog(world.redis).append([upsert(Item("new", "x"))])
    assert await eventually(lambda: "new" in contents(replica, old))
    assert replica.healthy()
    assert [m.versions.keys() for m in await everyone(world.redis) if isinstance(m, ShardMember)] == [{old}]
    late = await world.add_replica(0)  # what the composer serves is enough to start with
    assert set(late.versions) == {old}


async def test_nothing_promoted_is_an_error(redis, tmp_path):
    """A replica cannot start before the first version, and says what to do."""
    world = World(tmp_path / "versions", redis, shards=1)
    replica = ShardReplica(0, "r", world.store, redis, world.encode)
    with pytest.raises(VersionError, match="recsys promote"):
        await replica.start()
    await replica.stop()


async def test_tuning_reaches_versions_that_are_loading(make_world, monkeypatch):
    """A setting that comes while a version is read counts for it too."""
    world: World = await one_shard(make_world)
    (replica,) = world.clients[0].replicas
    load = held_version.open_shard

    def slow(store: VersionStore, version: str, shard: int):
        loaded = load(store, version, shard)
        replica.tune(ShardTuning(ef_search=77, poll_s=0.05))
        return loaded

    monkeypatch.setattr(held_version, "open_shard", slow)
    new = world.publish().version
    world.store.promote(new)
    assert await eventually(lambda: new in replica.versions)
    assert {held.shard.tuning.ef_search for held in replica.versions.values()} == {77}
