"""Which versions stay: good ones are not driven out by bad ones that follow each other quickly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.versions.build import Build, Content
from recsys.versions.promotion import rollback
from recsys.versions.retention import kept_no_longer, prune
from recsys.versions.store import VersionStore

HOUR = 3600.0

Serve = Callable[[str, float], None]


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path)


@pytest.fixture
def serve(store: VersionStore, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Promote a version and let so many seconds pass."""
    now = [1_700_000_000.0]
    monkeypatch.setattr("recsys.versions.store.time.time", lambda: now[0])

    def served(version: str, seconds: float) -> None:
        store.promote(version)
        now[0] += seconds

    return served


def versions(store: VersionStore, count: int) -> list[str]:
    platform = Platform(data_dir=store.root, shards=1, encoder=EncoderSpec(kind="hashing", dimension=16))
    build = Build(platform, store, HashingEncoder(platform.encoder), 1, ShardTuning())
    return [build.publish(Content([Item("a", f"one {n}")])).version for n in range(count)]


async def test_bad_versions_in_quick_succession_do_not_drive_out_good_ones(store, redis, serve):
    """Three versions a minute each: of those served before, the two that served for hours stay."""
    old, good, better, *bad = versions(store, 6)
    for version in (old, good, better):
        serve(version, HOUR)
    for version in bad:
        serve(version, 60.0)
    assert await kept_no_longer(store, redis, 3) == (old, *bad[:2])
    assert (await prune(store, redis, 3)).versions == (old, *bad[:2])
    assert store.served() == [bad[2], better, good]
    assert store.seconds_served() == {bad[2]: 60.0, better: HOUR, good: HOUR}


async def test_without_good_ones_the_newest_stay(store, redis, serve):
    """As on a platform that has run for a minute."""
    names = versions(store, 4)
    for version in names:
        serve(version, 15.0)
    assert await kept_no_longer(store, redis, 3) == (names[0],)
    assert await kept_no_longer(store, redis, 3, promoting=names[0]) == (names[1],)


async def test_the_times_that_a_version_was_served_add_up(store, redis, serve):
    """Going back and forth by promotions; what is rolled back is forgotten, and is kept as what waits."""
    first, second, third = versions(store, 3)
    for version in (first, second, first, second):
        serve(version, 400.0)
    assert store.seconds_served() == {first: 800.0, second: 800.0}
    serve(third, 5.0)
    platform = Platform(data_dir=store.root, shards=1, encoder=EncoderSpec(kind="hashing", dimension=16))
    await rollback(store, platform, redis)
    assert store.seconds_served() == {first: 800.0, second: 800.0}
    assert store.served() == [second, first]
    assert await kept_no_longer(store, redis, 2) == ()


async def test_how_long_is_not_known_of_a_file_of_before(store, redis, serve):
    """CURRENT without times: the newest stay."""
    names = versions(store, 4)
    (store.root / "CURRENT").write_text(f'{{"version": "{names[3]}", "previous": ["{names[2]}", "{names[1]}"]}}')
    assert store.seconds_served() == {names[3]: 0.0}
    assert await kept_no_longer(store, redis, 1) == (names[1], names[2])
