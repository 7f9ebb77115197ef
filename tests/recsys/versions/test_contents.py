"""From what is live to a new version, and how long versions and their log are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform, RoutingSpec
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import BadInput, NotFound, VersionError
from recsys.jobs.compact import compact
from recsys.state.item_log import ItemLog
from recsys.versions.build import Build, Content
from recsys.versions.contents import file_content, live_content, served_items
from recsys.versions.moving import end_move
from recsys.versions.opening import open_shard
from recsys.versions.promotion import promote, rollback
from recsys.versions.store import VersionStore
from tests.support.live_builds import build_live, everything, serve
from tests.support.world import ATTRIBUTES, DIMENSION, World, catalogue, eventually


class Counting(HashingEncoder):
    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.texts: list[str] = []

    def encode(self, texts):
        self.texts += texts
        return super().encode(texts)


async def test_a_compaction_holds_what_is_live(make_world):
    """Upserts and deletes of the log are in it, what has a vector is not encoded, and its log starts behind them."""
    world: World = await make_world()
    await world.gateway.items.upsert([Item(f"n{n}", f"new {n}") for n in range(20)], wait_visible=True)
    await world.gateway.items.upsert([Item("sea-1", "changed"), Item("n3", "newer")], wait_visible=True)
    for gone in ("sea-2", "n4"):
        await world.gateway.items.delete(gone, wait_visible=True)
    before = await everything(world)
    assert (before["sea-1"], before["n3"], len(before)) == ("changed", "newer", 48 + 20 - 2)
    encoder = Counting(world.platform.encoder)
    manifest = await build_live(world, encoder=encoder)
    assert encoder.texts == []
    assert (manifest.items, manifest.base) == (len(before), world.store.current())
    assert [s.cursor for s in manifest.shards] == [await ItemLog(world.redis).end(n) for n in range(2)]
    await world.gateway.items.upsert([Item("sea-3", "after the cut")], wait_visible=True)
    await world.gateway.items.delete("sea-4", wait_visible=True)
    await serve(world, manifest.version)
    del before["sea-4"]
    assert await everything(world) == before | {"sea-3": "after the cut"}


async def test_a_compaction_by_another_encoder_encodes_everything_anew(make_world):
    """Each item has the vector that the new encoder gives its text, those of the log as well."""
    world: World = await make_world(items=catalogue(3))
    await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    other = Platform(shards=2, encoder=EncoderSpec(kind="hashing", dimension=24), attributes=ATTRIBUTES)
    encoder = Counting(other.encoder)
    manifest = await build_live(world, other, encoder)
    assert len(encoder.texts) == 13
    assert manifest.fingerprint == encoder.fingerprint
    await serve(world, manifest.version)
    assert len(await everything(world)) == 13


async def test_what_was_deleted_stays_gone(make_world):
    """Through rebuild, swap, replay in a new replica, rollback and back again; deleting it once more is NotFound."""
    world: World = await make_world()
    await world.gateway.items.delete("sea-1", wait_visible=True)
    first = world.store.current()
    second = (await build_live(world)).version
    await world.gateway.items.delete("sea-2", wait_visible=True)
    third = (await build_live(world)).version
    await world.gateway.items.delete("sea-3", wait_visible=True)
    for version in (second, third, first, third):
        await serve(world, version)
        await world.add_replica(0)
        await world.add_replica(1)
        for _ in range(4):  # each of the replicas has its turn
            assert not {"sea-1", "sea-2", "sea-3"} & (await everything(world)).keys()
    with pytest.raises(NotFound):
        await world.gateway.items.delete("sea-2", wait_visible=False)


async def test_changes_over_http_stay_on_top_of_an_import(make_world):
    """A build of files replaces the snapshot under them; what was compacted before counts as part of the old one."""
    world: World = await make_world()
    await world.gateway.items.upsert([Item("early", "early"), Item("sea-1", "early edit")], wait_visible=True)
    await serve(world, (await build_live(world)).version)
    await world.gateway.items.upsert([Item("late", "late"), Item("sea-2", "late edit")], wait_visible=True)
    await world.gateway.items.delete("sea-3", wait_visible=True)
    fingerprint = HashingEncoder(world.platform.encoder).fingerprint
    content = file_content(world.store, [*world.items, Item("file", "file")], world.platform, fingerprint)
    build = Build(world.platform, world.store, HashingEncoder(world.platform.encoder), 1, ShardTuning())
    await serve(world, build.publish(content).version)
    now = await everything(world)
    assert (now["late"], now["sea-2"], now["file"]) == ("late", "late edit", "file")
    assert not {"sea-3", "early"} & now.keys()
    assert now["sea-1"].startswith("sea wave")


async def test_other_shards_take_over_all_that_was_written(tmp_path, redis):
    """From two shards by hash to three by topic, with changes in the log, while nothing runs; what the old ones write
    meanwhile is in the new log as well.
    """
    platform = {"encoder": EncoderSpec(kind="hashing", dimension=DIMENSION), "attributes": ATTRIBUTES}
    more = Platform(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"), **platform)
    async with World(root=tmp_path / "v", redis=redis) as world:
        await world.gateway.items.upsert(
            [Item("n", "new", "", {"topic": "sea"}), Item("sea-1", "edit")], wait_visible=True
        )
        await world.gateway.items.delete("sea-2", wait_visible=True)
        before = await everything(world)
        old = world.store.current()
        with pytest.raises(VersionError, match="`recsys apply` builds for them"):
            await build_live(world, more)
        with pytest.raises(VersionError, match="`recsys apply` changes the shards"):
            file_content(world.store, world.items, more, "print")
    manifest = await build_live(world, more)
    assert len(manifest.shards) == 3
    with pytest.raises(VersionError, match="Redis is needed"):
        await promote(world.store, manifest.version, more)
    async with World(root=tmp_path / "v", redis=redis) as world:  # the old ones once more, and a write
        await world.gateway.items.upsert([Item("m", "more")], wait_visible=True)
        with pytest.raises(VersionError, match="runs without shard-2"):
            await promote(world.store, manifest.version, more, redis)
    await promote(world.store, manifest.version, more, redis)
    assert await end_move(world.store, redis, 60.0)
    with pytest.raises(VersionError, match="has 2 shards"):
        await rollback(world.store, more)
    for going_back in (rollback(world.store, more, redis), promote(world.store, old, world.platform, redis)):
        with pytest.raises(VersionError, match=r"was built for 2 shards, the served one has 3"):
            await going_back
    routed = {"shards": 3, "routing": RoutingSpec(by="attribute", attribute="topic")}
    async with World(root=tmp_path / "v", redis=redis, **routed) as world:
        assert await everything(world) == before | {"m": "more"}
        await world.gateway.items.upsert([Item("k", "three")], wait_visible=True)
        assert "k" in await everything(world)


async def test_attributes_that_are_declared_otherwise(make_world):
    """One that is declared no more is left out; one whose values do not fit is refused by item and name."""
    world: World = await make_world(items=catalogue(2))
    fewer = world.platform.model_copy(update={"attributes": {"topic": "keyword", "number": "number"}})
    manifest = await build_live(world, fewer)
    shards = [open_shard(world.store, manifest.version, n) for n in range(2)]
    found = [s.items.item(r) for s in shards for r in s.items.live_rows()]
    assert all(item.attributes.keys() == {"topic", "number"} for item in found)
    wrong = world.platform.model_copy(update={"attributes": {"topic": "number"}})
    with pytest.raises(BadInput, match=r"item '.*attributes\.topic"):
        await build_live(world, wrong)


SCRIPT = """
import asyncio, sys
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.encoders import catalogue
from recsys.encoders.hashing import HashingEncoder
from recsys.jobs.compact import compact
from recsys.versions import build

class Slow(HashingEncoder):
    def encode(self, texts):
        print(len(texts), flush=True)
        if sys.argv[3] == "hang" and self.calls == 2:
            import time; time.sleep(600)
        self.calls += 1
        return super().encode(texts)
    calls = 0

catalogue.TOGETHER = 10
build.WhenNeeded = lambda platform, *_: Slow(platform.encoder)
platform = Platform.model_validate_json(sys.argv[1])
made = asyncio.run(compact(Config(platform, Serving(), ShardTuning()), sys.argv[2], then_promote=True))
print(made.version, flush=True)
"""


async def test_a_killed_build_leaves_nothing_and_goes_on(make_world, shared_valkey, tmp_path):
    """kill -9 while it encodes: no version is there, the served one answers, and the same build again ends the rest."""
    store = VersionStore(tmp_path / "var" / "versions")
    world: World = await make_world(root=store.root)
    platform = world.platform.model_copy(
        update={"data_dir": tmp_path / "var", "encoder": EncoderSpec(kind="hashing", dimension=16)}
    )
    await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)
    served = store.current()

    def start(how: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", SCRIPT, platform.model_dump_json(), shared_valkey.url, how]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    with start("hang") as dying:
        assert [dying.stdout.readline() for _ in range(3)] == ["10\n"] * 3
        with pytest.raises(VersionError, match="another build is under way"), store.drafts.alone():
            pass
        dying.send_signal(signal.SIGKILL)
    assert [m.version for m in store.versions()] == [served]
    assert store.current() == served
    await world.gateway.items.upsert([Item("m", "while it is dead")], wait_visible=True)
    assert len(await everything(world)) == 50
    with start("go on") as again:
        out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    *encoded, version = out.split()
    assert encoded == ["10", "10", "9"]  # 49 texts, of which 20 were done
    assert store.current() == version
    assert store.manifest(version).items == 49
    assert [p.name for p in store.drafts.folder.iterdir() if p.is_dir()] == []
    assert await eventually(lambda: world.follower.serve.version == version)
    assert {"n", "m"} <= (await everything(world)).keys()


async def test_nothing_is_live(tmp_path, redis):
    """Before the first version there is nothing to compact."""
    store = VersionStore(tmp_path / "v")
    with pytest.raises(VersionError, match="build one of files first"):
        await live_content(store, redis, Platform(), "print", lambda *_: None)
    assert file_content(store, [Item("a")], Platform(), "print") == Content([Item("a")])
    assert (await compact_refused(store, redis, tmp_path)) is True


async def compact_refused(store: VersionStore, redis: Any, tmp_path: Path) -> bool:
    platform = Platform(data_dir=tmp_path, encoder=EncoderSpec(kind="hashing", dimension=8))
    url = f"unix://{redis.connection_pool.connection_kwargs['path']}"
    with pytest.raises(VersionError, match="build one of files first"):
        await compact(Config(platform, Serving(), ShardTuning()), url, then_promote=False)
    return store.versions() == []


def test_items_of_the_served_version_come_out_of_checked_files(tmp_path):
    """Whichever machine built it: files behind a URL are fetched first, and a damaged one is refused."""
    platform, url = Platform(encoder=EncoderSpec(kind="hashing", dimension=8)), "memory://bucket/served-items"
    here, there = VersionStore(url, tmp_path / "here"), VersionStore(url, tmp_path / "there")
    with pytest.raises(VersionError, match="build one of files first"):
        served_items(there)
    build = Build(platform, here, HashingEncoder(platform.encoder), 1, ShardTuning())
    items = catalogue(5)
    version = build.publish(Content(items)).version
    here.promote(version)
    assert {item.item_id: item for item in served_items(there)} == {item.item_id: item for item in items}
    local = VersionStore(tmp_path / "local")
    version = replace(build, store=local).publish(Content(items)).version
    local.promote(version)
    file = max((local.folder(version) / "shard-0").glob("items*"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(VersionError, match="missing or was changed"):
        served_items(local)
