"""The drill: a backup taken under load, restored on an empty machine, answers as the platform did."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from recsys.backup.store import BackupStore
from recsys.backup.under_way import half_restored, refuse_if_half_restored
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.datatypes import Item, RecQuery
from recsys.errors import BackupError
from recsys.jobs import backup as module
from recsys.jobs import restore as restoring
from recsys.jobs.backup import BackedUp, back_up
from recsys.jobs.compact import compact
from recsys.jobs.restore import check, restore, verify
from recsys.serving.pipeline import Recommender
from recsys.state import counting_script, redis_keys
from recsys.state.connection import connect
from recsys.versions.store import VersionStore
from tests.support.own_valkey import Valkey
from tests.support.world import NOW, World, catalogue, event, eventually

USERS = [f"user {n}" for n in range(90)]


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers depend on the time of day; both platforms are asked at one moment."""
    monkeypatch.setattr(Recommender.__init__, "__defaults__", (lambda: NOW + 5_000.0, None))


@pytest.fixture
async def restored_redis(own_valkey: Valkey) -> AsyncIterator[Redis]:
    """A client of an empty server, for a platform of another prefix."""
    client = connect(own_valkey.url, timeout_s=20, prefix="restored")
    yield client
    await client.aclose()


@pytest.fixture
async def one(make_world: Callable[..., Any], tmp_path: Path) -> World:
    """A platform with people, items that came, changed and went, a second version, and attributes of users."""
    home = tmp_path / "one"
    world = await make_world(root=home / "versions", data_dir=home, user_attributes={"country": "keyword"})
    items, numbers = [item.item_id for item in world.items], itertools.count()
    for start in range(0, len(USERS), 30):
        part = USERS[start : start + 30]
        await world.gateway.record(
            [event(user, items[next(numbers) * 7 % len(items)], type="like") for user in part for _ in range(3)]
        )
    await world.gateway.items.upsert(
        [Item(f"new-{n}", "sea wave", f"wave {n}", {}, NOW) for n in range(5)], wait_visible=True
    )
    await world.gateway.items.delete(items[3], wait_visible=True)
    await world.gateway.user_records.describe("user 1", {"country": "IT"}, (), whole=True)
    return world


async def answers(world: World, users: Sequence[str] = USERS) -> list[list[tuple[str, float]]]:
    """The top ten of each user, one after another: the numbers of a batch may differ in their last bit."""
    slates = [await world.gateway.recommend(RecQuery(k=10, user_id=user)) for user in users]
    assert {slate.degraded for slate in slates} == {()}
    return [[(item.item_id, item.score) for item in slate.items] for slate in slates]


async def settled(world: World) -> None:
    """Wait until shards have heard of all that was counted, and have prolonged it."""
    await world.counted()

    async def prolonged() -> bool:
        return await world.redis.ttl(redis_keys.count("sea-1")) > counting_script.UNHELD_S

    assert await eventually(prolonged)


async def backed_up(world: World, url: str, tmp_path: Path, **options: Any) -> BackedUp:
    config = tmp_path / "config.yaml"
    config.write_text("# the config file\n")
    return await back_up(world.platform, config, world_url(world), BackupStore(url), **options)


def world_url(world: World) -> str:
    return f"unix://{world.redis.connection_pool.connection_kwargs['path']}"


async def test_a_restore_on_an_empty_machine_answers_to_the_bit(
    own_valkey: Valkey,
    restored_redis: Redis,
    make_world: Callable[..., Any],
    still_clock: None,
    one: World,
    tmp_path: Path,
) -> None:
    """The top 10 of 90 users with their scores, after a backup during which other users were written."""
    await settled(one)
    before = await answers(one)
    written = itertools.count()

    async def write() -> None:
        while True:
            n = next(written)
            # Of an item that nobody offers: likes of others would change what is popular, and so every answer.
            await one.gateway.record([event(f"someone {n}", "not offered")])
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    done = await backed_up(one, str(tmp_path / "backups"), tmp_path)
    writer.cancel()
    await asyncio.wait([writer])
    assert next(written) > 1
    # What is written after the moment is not in the backup.
    await one.gateway.items.upsert([Item("later", "sea wave", "wave later", {}, NOW)], wait_visible=True)
    await one.gateway.record([event(user, "sea-2") for user in USERS[:60]])

    home = tmp_path / "other"
    platform = one.platform.model_copy(update={"data_dir": home, "redis_prefix": "restored"})
    store = BackupStore(str(tmp_path / "backups"))
    verify(store, store.manifest(), tmp_path, lambda *_: None)
    await restore(platform, own_valkey.url, store, store.manifest(done.manifest.name))
    options = {"data_dir": home, "redis_prefix": "restored", "user_attributes": {"country": "keyword"}}
    other = await make_world(root=home / "versions", redis=restored_redis, **options)
    await settled(other)
    after = await answers(other)
    assert after == before
    assert len({item for user in before for item, _ in user}) > 10
    assert await other.gateway.user_records.attributes("user 1") == {"country": "IT"}
    # Lifetimes are those of before, to the millisecond.
    for name in (b"events:user 7", b"count:sea-1"):
        lifetime = await one.redis.pexpiretime(b"recsys:" + name)
        assert lifetime == await restored_redis.pexpiretime(b"restored:" + name)
    # It goes on as the first one would: the next write comes behind the log.
    [new] = await other.gateway.items.upsert([Item("next", "sea", "wave", {}, NOW)], wait_visible=True)
    assert new.visible


async def test_the_next_backup_stores_what_is_new(one: World, tmp_path: Path) -> None:
    url = str(tmp_path / "backups")
    await settled(one)  # a lifetime that is prolonged is new
    first = await backed_up(one, url, tmp_path)
    again = await backed_up(one, url, tmp_path)
    assert first.stored == len({file.sha256 for file in first.manifest.files()})
    assert again.stored == 0
    await one.gateway.record([event("user 5", "sea-1")])
    changed = await backed_up(one, url, tmp_path, keep=2)
    assert {file.path.partition("-")[0] for file in changed.manifest.redis} == {"keys", "entries"}
    assert 0 < changed.stored < first.stored / 2
    assert changed.removed == (first.manifest.name,)
    assert BackupStore(url).names() == [again.manifest.name, changed.manifest.name]
    verify(BackupStore(url), again.manifest, tmp_path, lambda *_: None)


async def test_a_promotion_meanwhile_is_in_the_backup_or_not_at_all(
    one: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CURRENT, the versions and the log fit each other, whenever another version is served and the log is trimmed."""
    original, promoted = module.BackupRun.copy_versions, []

    def slow(self: Any) -> Any:
        copied = original(self)
        if not promoted:
            promoted.append(one.publish())
            one.store.promote(promoted[0].version)
        return copied

    monkeypatch.setattr(module.BackupRun, "copy_versions", slow)
    done = await backed_up(one, str(tmp_path / "backups"), tmp_path)
    assert done.manifest.current is not None
    assert done.manifest.current.version == promoted[0].version
    assert set(done.manifest.current.order) == set(done.manifest.versions)


@pytest.fixture
async def saved(one: World, tmp_path: Path) -> BackupStore:
    await backed_up(one, str(tmp_path / "backups"), tmp_path)
    return BackupStore(str(tmp_path / "backups"))


@pytest.fixture
def empty(one: World, tmp_path: Path) -> Platform:
    return one.platform.model_copy(update={"data_dir": tmp_path / "empty"})


async def test_a_damaged_file_is_told_before_anything_is_touched(
    own_valkey: Valkey, own_redis: Any, saved: BackupStore, empty: Platform, tmp_path: Path
) -> None:
    damaged = saved.manifest().files()[-2]
    blob = tmp_path / "backups" / "blobs" / damaged.sha256[:2] / damaged.sha256
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(BackupError, match="is missing or damaged"):
        verify(saved, saved.manifest(), tmp_path, lambda *_: None)
    with pytest.raises(BackupError, match="is missing or damaged"):
        await restore(empty, own_valkey.url, saved, saved.manifest())
    assert await own_redis.dbsize() == 0
    assert VersionStore.of(empty).versions() == []
    assert half_restored(empty.home()) is None


async def test_a_server_that_is_not_empty_is_refused_unless_told(
    own_valkey: Valkey, own_redis: Any, saved: BackupStore, empty: Platform
) -> None:
    await own_redis.set("recsys:events:x", 1)
    await own_redis.set("other:events:x", 1)
    with pytest.raises(BackupError, match="holds data under the prefix 'recsys', such as recsys:events:x"):
        await restore(empty, own_valkey.url, saved, saved.manifest())
    await restore(empty, own_valkey.url, saved, saved.manifest(), overwrite=True)
    assert not await own_redis.exists("recsys:events:x")
    assert await own_redis.exists("other:events:x")
    with pytest.raises(BackupError, match="is served here already"):
        await check(empty, None, saved.manifest(), overwrite=False)
    await restore(empty, own_valkey.url, saved, saved.manifest(), overwrite=True)  # the same versions are there


async def test_a_running_platform_is_not_restored_over(one: World, saved: BackupStore) -> None:
    with pytest.raises(BackupError, match="the platform runs"):
        await restore(one.platform, world_url(one), saved, saved.manifest(), overwrite=True)


async def test_another_shard_count_is_refused(one: World, saved: BackupStore, empty: Platform) -> None:
    with pytest.raises(BackupError, match="is of 2 shards"):
        await check(empty.model_copy(update={"shards": 3}), None, saved.manifest(), overwrite=False)
    newer = saved.manifest().model_copy(update={"format": 2})
    with pytest.raises(BackupError, match="has format 2"):
        await check(empty, None, newer, overwrite=False)


async def test_a_restore_that_dies_is_told_and_done_again(
    own_valkey: Valkey, own_redis: Any, saved: BackupStore, empty: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No platform starts on a part of it, and the same call again needs no --overwrite."""
    read = restoring.read_entries

    def dies(path: Path) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "read_entries", dies)
    with pytest.raises(KeyboardInterrupt):
        await restore(empty, own_valkey.url, saved, saved.manifest())
    with pytest.raises(BackupError, match="did not end"):
        refuse_if_half_restored(empty.home())
    monkeypatch.setattr(restoring, "read_entries", read)
    await restore(empty, own_valkey.url, saved, saved.manifest())
    refuse_if_half_restored(empty.home())
    assert VersionStore.of(empty).record() == saved.manifest().current


async def test_versions_compacted_since_are_restored_with_the_rest_of_the_log(
    own_valkey: Valkey, own_redis: Any, one: World, empty: Platform, tmp_path: Path
) -> None:
    """A version that was built of the log, and the log behind it, which was trimmed."""
    config = Config(one.platform, Serving(), ShardTuning())
    built = await compact(config, world_url(one), then_promote=True)
    await one.gateway.items.upsert([Item("behind", "sea", "wave", {}, NOW)], wait_visible=True)
    await backed_up(one, str(tmp_path / "backups"), tmp_path)
    store = BackupStore(str(tmp_path / "backups"))
    await restore(empty, own_valkey.url, store, store.manifest())
    assert VersionStore.of(empty).current() == built.version
    assert await own_redis.xrange("recsys:log:0") == await one.redis.xrange("recsys:log:0")
    assert await own_redis.hgetall("recsys:trimmed") == await one.redis.hgetall("recsys:trimmed")
    assert len(catalogue()) == 48
