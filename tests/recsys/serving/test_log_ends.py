"""Where a log ends: behind its trim, after a loss of its tail, and in what earlier releases left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recsys.config.platform import Platform, RoutingSpec
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.datatypes import Item, RecQuery
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import VersionError
from recsys.jobs.compact import compact
from recsys.state import redis_keys
from recsys.state.item_log import Delete, ItemLog, after, fields_of
from recsys.state.layouts import ENDED_S
from recsys.state.membership import ComposerMember
from recsys.state.presence import Presence
from recsys.versions.build import Build
from recsys.versions.contents import file_content, live_content
from recsys.versions.manifest import Manifest
from recsys.versions.promotion import promote, refuse_if_log_gone
from recsys.versions.retention import prune
from recsys.versions.store import VersionStore
from tests.support.world import World, catalogue, eventually


async def night(platform: Platform, url: str) -> Manifest:
    return await compact(Config(platform, Serving(), ShardTuning()), url, then_promote=True)


async def everything(world: World) -> dict[str, str]:
    slate = await world.gateway.recommend(RecQuery(k=1000, include_seen=True))
    assert slate.degraded == ()
    return {r.item_id: r.title for r in slate.items}


def store_in(home: Path) -> VersionStore:
    return VersionStore(home / "versions")


def changed(store: VersionStore, manifest: Manifest, **update: Any) -> Manifest:
    """Write a manifest as it might have come from elsewhere."""
    manifest = manifest.model_copy(update=update)
    (store.folder(manifest.version) / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


@pytest.mark.parametrize("shards", [1, 3])
async def test_after_four_quiet_nights_the_platform_starts_again(tmp_path, redis, shared_valkey, shards):
    """After one write to one shard, and none to the others, rebuilds follow each other and each can be loaded."""
    store = store_in(tmp_path)
    async with World(root=store.root, redis=redis, shards=shards, items=catalogue(3)) as world:
        await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    platform = world.platform.model_copy(update={"data_dir": tmp_path})
    written = [await ItemLog(redis).end(shard) for shard in range(shards)]
    assert sum(end != "0-0" for end in written) == 1
    for _ in range(5):
        made = await night(platform, shared_valkey.url)
        assert [shard.cursor for shard in made.shards] == written
    assert sum([await redis.xlen(redis_keys.log(shard)) for shard in range(shards)]) == 0
    async with World(root=store.root, redis=redis, shards=shards) as world:
        assert len(await everything(world)) == 12 + 1
        await world.gateway.items.upsert([Item("m", "more")], wait_visible=True)
        assert {"n", "m"} <= (await everything(world)).keys()


async def test_what_earlier_releases_left_of_an_emptied_log_is_served(tmp_path, redis, shared_valkey):
    """A cursor before every entry, in a version of after the trim: it loads, and the next build has the right one."""
    store = store_in(tmp_path)
    async with World(root=store.root, redis=redis, shards=1, items=catalogue(3)) as world:
        await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    platform = world.platform.model_copy(update={"data_dir": tmp_path})
    for _ in range(4):
        made = await night(platform, shared_valkey.url)
    trimmed = made.shards[0].cursor
    assert await ItemLog(redis).trimmed(0) == trimmed
    damaged = [made.shards[0].model_copy(update={"cursor": "0-0"})]
    changed(store, made, shards=damaged)
    async with World(root=store.root, redis=redis, shards=1) as world:
        await world.gateway.items.upsert([Item("m", "more")], wait_visible=True)
    fingerprint = HashingEncoder(platform.encoder).fingerprint
    assert file_content(store, [], platform, fingerprint, [trimmed]).cursors == [trimmed]
    with store.drafts.alone():
        content = await live_content(store, redis, platform, fingerprint, lambda *_: None)
    assert {"n", "m"} <= {item.item_id for item in content.items}
    assert after(content.cursors[0]) > after(trimmed)
    changed(store, made, shards=damaged, created_at=datetime.now(UTC) - timedelta(days=400))
    with pytest.raises(VersionError, match="was trimmed to"):  # restored by hand: it lacks what was trimmed
        await refuse_if_log_gone(store.manifest(made.version), redis)


async def test_replicas_agree_again_after_the_log_lost_its_tail(make_world, redis):
    """Those that had applied lost entries load the version again; what is promoted and written then is served."""
    world: World = await make_world(shards=1, items=catalogue(3), replicas=2)
    await world.gateway.items.upsert([Item("kept", "kept")], wait_visible=True)
    before = await redis.dump(redis_keys.log(0))
    await world.gateway.items.upsert([Item("lost", "lost"), Item("kept", "changed")], wait_visible=True)
    assert (await everything(world))["kept"] == "changed"
    await redis.restore(redis_keys.log(0), 0, before, replace=True)  # as a replica that lagged and is the primary now

    async def without_it() -> bool:
        answers = [await everything(world) for _ in range(2)]  # each replica has its turn
        return all("lost" not in found and found["kept"] == "kept" for found in answers)

    assert await eventually(without_it)
    await world.add_replica(0)
    second = world.publish().version
    world.store.promote(second)
    assert await eventually(lambda: world.follower.serve.version == second)
    await world.gateway.items.upsert([Item("next", "next")], wait_visible=True)
    for _ in range(3):
        assert {"next", "kept"} <= (await everything(world)).keys()


async def test_what_follows_a_lost_entry_is_not_applied_on_top_of_it(make_world, redis):
    """The tail is lost and written on in one moment: the replica reads new entries, and starts from its files."""
    world: World = await make_world(shards=1, items=catalogue(3))
    await world.gateway.items.upsert([Item("lost", "lost")], wait_visible=True)
    (lost,) = await ItemLog(redis).read(0, "0-0")
    pipe = redis.pipeline(transaction=True)
    pipe.xdel(redis_keys.log(0), lost.sequence)
    pipe.xadd(redis_keys.log(0), fields_of(Delete("sea-0")))
    await pipe.execute()

    async def from_the_files() -> bool:
        found = await everything(world)
        return "lost" not in found and "sea-0" not in found

    assert await eventually(from_the_files)
    await world.gateway.items.upsert([Item("next", "next")], wait_visible=True)
    assert len(await everything(world)) == 12


async def test_an_emptied_redis_goes_on_behind_the_snapshot(make_world, redis, caplog):
    """The snapshot's items stay, the loss of later ones is logged, and new writes reach old and new replicas."""
    world: World = await make_world(shards=1, items=catalogue(3))
    await world.gateway.items.upsert([Item("built", "in the snapshot")], wait_visible=True)
    fingerprint = HashingEncoder(world.platform.encoder).fingerprint
    with world.store.drafts.alone():
        content = await live_content(world.store, redis, world.platform, fingerprint, lambda *_: None)
        build = Build(world.platform, world.store, HashingEncoder(world.platform.encoder), 1, ShardTuning())
        made = build.publish(content)
    world.store.promote(made.version)
    assert await eventually(lambda: world.follower.serve.version == made.version)
    await world.gateway.items.upsert([Item("late", "behind it")], wait_visible=True)
    await redis.flushall()

    async def without_it() -> bool:
        return "late" not in await everything(world)

    assert await eventually(without_it)
    assert "built" in await everything(world)
    assert await eventually(lambda: "Redis has lost its tail" in caplog.text)
    assert await ItemLog(redis).end(0) == made.shards[0].cursor
    (written,) = await world.gateway.items.upsert([Item("new", "new")], wait_visible=True)
    assert after(written.sequence) > after(made.shards[0].cursor)
    await world.add_replica(0)
    for _ in range(2):
        assert {"built", "new"} <= (await everything(world)).keys()


async def test_logs_of_shards_that_are_no_more_expire(tmp_path, redis, shared_valkey):
    """From four shards to two and back, while nothing runs: the logs of before go, and nothing is lost."""
    store = store_in(tmp_path)
    async with World(root=store.root, redis=redis, shards=4, items=catalogue(3)) as world:
        await world.gateway.items.upsert([Item(f"n{n}", f"new {n}") for n in range(40)], wait_visible=True)
    assert all([await redis.xlen(redis_keys.log(shard)) for shard in range(4)])
    fewer = world.platform.model_copy(update={"data_dir": tmp_path, "shards": 2, "keep_versions": 2})
    for _ in range(3):
        await night(fewer, shared_valkey.url)
    assert [len(m.shards) for m in store.versions()] == [2, 2]
    assert all([0 < await redis.ttl(redis_keys.log(shard)) <= ENDED_S for shard in range(4)])
    async with World(root=store.root, redis=redis, shards=2) as world:
        assert len(await everything(world)) == 12 + 40
    again = fewer.model_copy(update={"shards": 4, "routing": RoutingSpec()})
    await night(again, shared_valkey.url)
    async with World(root=store.root, redis=redis, shards=4) as world:
        await world.gateway.items.upsert([Item(f"m{n}", f"more {n}") for n in range(40)], wait_visible=True)
        assert len(await everything(world)) == 12 + 80


async def test_a_log_that_is_trimmed_while_a_build_reads_it_fails_the_build(tmp_path, redis):
    """Entries that went unread would be missing from the version."""
    store = store_in(tmp_path)
    async with World(root=store.root, redis=redis, shards=1, items=catalogue(3)) as world:
        await world.gateway.items.upsert([Item(f"n{n}", f"new {n}") for n in range(5)], wait_visible=True)
    log = ItemLog(redis)
    third = (await log.read(0, "0-0"))[2].sequence
    read = ItemLog.read

    async def trimming(self: ItemLog, shard: int, cursor: str, **options: Any) -> Any:
        await log.trim(0, third)
        return await read(self, shard, cursor, **options)

    with pytest.MonkeyPatch.context() as patch, store.drafts.alone():
        patch.setattr(ItemLog, "read", trimming)
        with pytest.raises(VersionError, match="was trimmed to"):
            await live_content(store, redis, world.platform, "print", lambda *_: None)


async def test_a_version_whose_log_is_gone_is_not_promoted(tmp_path, redis):
    """Said at once, with what to do; a build of files takes up what is left of the log."""
    store = store_in(tmp_path)
    async with World(root=store.root, redis=redis, shards=1, items=catalogue(3)) as world:
        old = world.publish()
        await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    log = ItemLog(redis)
    await log.trim(0, await log.end(0))
    with pytest.raises(VersionError, match="serve another version"):
        await promote(store, old.version, world.platform, redis)
    fingerprint = HashingEncoder(world.platform.encoder).fingerprint
    content = file_content(store, world.items, world.platform, fingerprint, [await log.trimmed(0)])
    made = Build(world.platform, store, HashingEncoder(world.platform.encoder), 1, ShardTuning()).publish(content)
    assert (await promote(store, made.version, world.platform, redis)).version == store.current()


async def test_what_a_silent_composer_serves_is_kept(tmp_path, redis):
    """It may only be out of Redis' reach, and serve on: its version and its part of the log stay for three minutes."""
    async with World(root=tmp_path, redis=redis, shards=1, items=catalogue(3)) as world:
        first = world.store.current()
        world.store.promote(world.publish().version)
        third = world.publish().version
        world.store.promote(third)
    await Presence(redis, ComposerMember("c", serving=first), ()).say()
    heard = redis_keys.presence("composer")[1]
    await redis.zincrby(heard, -60_000, "c")
    await prune(world.store, redis, 1)
    assert [m.version for m in world.store.versions()] == [first, third]


async def test_nothing_is_trimmed_by_a_list_of_versions_that_cannot_be_read(tmp_path, redis):
    """A manifest that the storage does not give now is no version that is gone."""
    store = store_in(tmp_path)
    async with World(root=store.root, redis=redis, shards=1, items=catalogue(3)) as world:
        await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    manifest = store.folder(world.follower.serve.version) / "manifest.json"
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(OSError, match="directory"):
        await prune(VersionStore(store.root), redis, 3)
    assert await redis.xlen(redis_keys.log(0)) == 1
