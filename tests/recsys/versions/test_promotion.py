"""What may be served: promotions, rollbacks and builds that end at the same moment, and versions that must not be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.core import url_to_fs

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import VersionError
from recsys.files import sha256
from recsys.jobs import promote as promotion
from recsys.jobs.compact import compact
from recsys.shard.snapshot import write_indexes
from recsys.versions import opening
from recsys.versions.build import Build, Content
from recsys.versions.manifest import RANKER
from recsys.versions.promotion import promote, rollback
from recsys.versions.retention import prune
from recsys.versions.storage import ObjectStore, storage
from recsys.versions.store import VersionStore
from tests.support.world import World, catalogue, eventually


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(data_dir=tmp_path, shards=1, encoder=EncoderSpec(kind="hashing", dimension=16))


def published(platform: Platform, *items: Item, store: VersionStore | None = None) -> str:
    chosen = store or VersionStore.of(platform)
    build = Build(platform, chosen, HashingEncoder(platform.encoder), 1, ShardTuning())
    return build.publish(Content(items or [Item("a", "one"), Item("b", "two")])).version


async def rebuilt_while(platform: Platform, url: str, then: Callable[[], Any], **options: Any) -> Any:
    """A rebuild, in the middle of which something else happens."""
    loop, done = asyncio.get_running_loop(), threading.Event()

    def indexer(*args: Any) -> Any:
        async def interrupt() -> None:
            made = then()
            if asyncio.iscoroutine(made):
                await made
            done.set()

        asyncio.run_coroutine_threadsafe(interrupt(), loop)
        assert done.wait(60)
        yield from write_indexes(*args)

    return await compact(
        Config(platform, Serving(), ShardTuning()), url, indexer=indexer, **({"then_promote": True} | options)
    )


async def test_a_rebuild_undoes_neither_a_rollback_nor_a_promotion(platform, redis, shared_valkey):
    """What the operator did while it ran stays, and what it built of the version of before is removed."""
    store = VersionStore.of(platform)
    good, bad = published(platform), published(platform, Item("WRONG"))
    store.promote(good)
    store.promote(bad)
    with pytest.raises(VersionError, match=f"was made to follow {bad}, and {good} is served by now"):
        await rebuilt_while(platform, shared_valkey.url, lambda: rollback(store, platform, redis))
    assert store.served() == [good]
    assert [m.version for m in store.versions()] == [good, bad]
    other = published(platform, Item("c", "another catalogue"))
    with pytest.raises(VersionError, match=f"{other} is served by now"):
        await rebuilt_while(platform, shared_valkey.url, lambda: promote(store, other, platform, redis))
    assert store.served() == [other, good]
    made = await rebuilt_while(platform, shared_valkey.url, lambda: None)
    assert store.served() == [made.version, other, good]


async def test_a_promotion_while_a_rollback_reads_files_stays(platform, redis, monkeypatch):
    """The rollback is refused in words, and CURRENT remembers every version that was served."""
    store, other = VersionStore.of(platform), VersionStore.of(platform)
    names = [published(platform) for _ in range(3)]
    for name in names[:2]:
        store.promote(name)
    whole = opening.open_whole

    def meanwhile(store: VersionStore, version: str) -> Any:
        other.promote(names[2])
        return whole(store, version)

    monkeypatch.setattr(opening, "open_whole", meanwhile)
    with pytest.raises(VersionError, match=f"{names[2]} is served now"):
        await rollback(store, platform, redis)
    assert store.served() == names[::-1]
    with pytest.raises(VersionError, match="no earlier version"):
        await rollback(VersionStore(platform.home() / "none"), platform, redis)


async def test_promotions_of_two_machines_are_both_remembered(platform, redis, tmp_path):
    """Each machine has a lock of its own and copies of CURRENT of a second ago; Redis lets one switch at a time."""
    url = "memory://bucket/two-machines"
    here, there = VersionStore(url, tmp_path / "a"), VersionStore(url, tmp_path / "b")
    first, second, third = (published(platform, store=here) for _ in range(3))
    await promote(here, first, platform, redis)
    assert there.current() == first  # it is taken as read for a second from now on
    await promote(here, second, platform, redis)
    await promote(there, third, platform, redis)
    assert here.served() == there.served() == [third, second, first]
    names = [[store.new_name() for store in (here, there)] for _ in range(20)]
    assert len({name for pair in names for name in pair}) == 40


def test_a_version_of_a_name_that_is_taken_is_not_published(platform, tmp_path):
    """Of two machines with one name the second is refused: files of two builds would lie in one folder."""
    far = ObjectStore("memory://bucket/taken", tmp_path / "copies")
    for machine in ("a", "b"):
        draft = tmp_path / machine
        draft.mkdir()
        (draft / "manifest.json").write_text(machine)
    far.folder.mkdir()
    far.publish(tmp_path / "a", "v1")
    with pytest.raises(FileExistsError, match="a version v1 already"):
        far.publish(tmp_path / "b", "v1")
    assert far.read("v1/manifest.json") == b"a"


async def test_a_version_that_waits_for_its_promotion_is_kept(platform, redis, shared_valkey):
    """The nightly rebuild removes neither it nor a second one; of more than keep_versions the oldest go."""
    store = VersionStore.of(platform)
    store.promote(published(platform))
    waiting = [published(platform, Item("w", str(n))) for n in range(2)]
    for _ in range(4):
        await compact(Config(platform, Serving(), ShardTuning()), shared_valkey.url, then_promote=True)
    assert {*waiting} <= {m.version for m in store.versions()}
    await prune(store, redis, 1)
    assert [m.version for m in store.versions()] == [waiting[1], store.current()]


async def test_a_rebuild_is_served_though_nothing_can_be_removed_behind_it(
    platform, shared_valkey, monkeypatch, caplog
):
    """What is kept too long goes with the next promotion; the rebuild is no failure for it."""
    store = VersionStore.of(platform)
    store.promote(published(platform))

    async def away(*_: Any) -> None:
        raise OSError("the store is away")

    monkeypatch.setattr(promotion, "prune", away)
    made = await compact(Config(platform, Serving(), ShardTuning()), shared_valkey.url, then_promote=True)
    assert store.current() == made.version
    assert "the store is away" in caplog.text


def _with_ranker(store: VersionStore, version: str) -> None:
    """A ranking model of a release that knows another signal."""
    import lightgbm  # noqa: PLC0415 - takes a second

    path = store.folder(version) / RANKER
    data = lightgbm.Dataset(np.eye(40, 2), np.arange(40) % 2, feature_name=["text", "mood"])
    path.write_text(lightgbm.train({"verbose": -1}, data, 1).model_to_string())
    _rewrite(store, version, ranker_sha256=sha256(path))


def _with_foreign_index(store: VersionStore, version: str) -> None:
    """Rows of other items, every checksum right."""
    shard, path = store.manifest(version).shards[0], store.folder(version) / "shard-0" / "index.bin"
    path.write_bytes((store.folder(store.current() or "") / "shard-0" / "index.bin").read_bytes())
    sums = shard.sha256 | {"index.bin": sha256(path)}
    _rewrite(store, version, shards=[shard.model_copy(update={"sha256": sums})])


def _with_wrong_count(store: VersionStore, version: str) -> None:
    shard = store.manifest(version).shards[0]
    _rewrite(store, version, shards=[shard.model_copy(update={"items": shard.items + 1})])


def _rewrite(store: VersionStore, version: str, **update: Any) -> None:
    manifest = store.manifest(version).model_copy(update=update)
    (store.folder(version) / "manifest.json").write_text(manifest.model_dump_json())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_with_ranker, "other signals"),
        (_with_foreign_index, "self-lookup|recall|index"),
        (_with_wrong_count, "manifest says"),
    ],
)
async def test_what_cannot_be_served_is_neither_promoted_nor_rolled_back_to(platform, redis, spoil, why):
    """Though every checksum is right: it is opened as composers and shards open it."""
    store = VersionStore.of(platform)
    items = catalogue(30)
    swapped = [replace(a, title=b.title, text=b.text) for a, b in zip(items, items[::-1], strict=True)]
    good, bad = published(platform, *items), published(platform, *swapped)
    store.promote(bad)
    store.promote(good)
    spoil(store, bad)
    with pytest.raises(VersionError, match=why):
        await promote(store, bad, platform, redis)
    with pytest.raises(VersionError, match=f"no way back to {bad}: .*({why}).*`recsys promote` takes any"):
        await rollback(store, platform, redis)
    assert store.served() == [good, bad]


async def test_a_store_that_cannot_be_reached_ends_no_replica(tmp_path, redis, monkeypatch):
    """Whatever its library raises: composers and shards go on with what they have, and follow again afterwards."""
    store = VersionStore("memory://bucket/away", tmp_path / "copies")
    fs, _ = url_to_fs("memory://bucket/away")  # one object for all stores behind memory://
    away = False

    class EndpointConnectionError(Exception):
        """As botocore's: no OSError."""

    def failing(name: str) -> Any:
        plain = getattr(fs, name)

        def call(*args: Any, **options: Any) -> Any:
            if away:
                raise EndpointConnectionError("Could not connect to the endpoint URL")
            return plain(*args, **options)

        return call

    for name in ("cat_file", "pipe_file", "get_file", "put_file", "exists", "glob", "rm", "rm_file"):
        monkeypatch.setattr(fs, name, failing(name))
    world = World(root=tmp_path / "unused", redis=redis, shards=1, items=catalogue(3))
    world.store = store
    files = storage("memory://bucket/away", tmp_path / "others")
    async with world:
        away = True
        for attempt in (
            store.versions,
            lambda: files.read("v/manifest.json"),
            lambda: files.read("CURRENT", fresh=True),
            lambda: files.write("CURRENT", b""),
            lambda: files.fetch("v", ["x"]),
            lambda: files.remove("v"),
        ):
            with pytest.raises(OSError, match="away cannot be reached: Could not connect"):
                attempt()
        await asyncio.sleep(2)  # CURRENT is taken as read for one second
        assert world.follower.healthy()
        assert all(replica.healthy() for replica in world.clients[0].replicas)
        away = False
        second = world.publish().version
        store.promote(second)
        assert await eventually(lambda: world.follower.serve.version == second)


async def test_a_catalogue_that_shrinks_below_half_is_not_promoted(platform, redis):
    """Unless it is said to be meant. Half of it is no shrinking, and an empty one is refused whatever is said."""
    store = VersionStore.of(platform)
    sizes = {n: published(platform, *(Item(f"i{m}", f"item {m}") for m in range(n))) for n in (10, 5, 2, 1)}
    empty = Build(platform, store, HashingEncoder(platform.encoder), 1, ShardTuning()).publish(Content([])).version
    with pytest.raises(VersionError, match="no item to serve"):
        await promote(store, empty, platform, redis)
    await promote(store, sizes[1], platform, redis)
    await promote(store, sizes[10], platform, redis)
    with pytest.raises(VersionError, match=f"shrink to 2 items, and {sizes[10]}, .* has 10: .*--allow-shrink"):
        await promote(store, sizes[2], platform, redis)
    assert store.current() == sizes[10]
    await promote(store, sizes[5], platform, redis)
    await promote(store, sizes[2], platform, redis, allow_shrink=True, dry_run=True)
    assert store.current() == sizes[5]
    await promote(store, sizes[2], platform, redis, allow_shrink=True)
    with pytest.raises(VersionError, match="no item to serve"):
        await promote(store, empty, platform, redis, allow_shrink=True)
    await rollback(store, platform, redis, dry_run=True)
    assert store.served()[0] == sizes[2]
