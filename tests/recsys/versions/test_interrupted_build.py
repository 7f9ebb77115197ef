"""A build that died, and builds beside each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recsys.datatypes import Item
from recsys.encoders import catalogue as encoding
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import VersionError
from recsys.shard.snapshot import read_items, write_indexes
from recsys.versions.build import Content
from recsys.versions.contents import file_content
from recsys.versions.store import VersionStore
from tests.support.builds import build, shards_of
from tests.support.world import catalogue


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "versions")


def drafts(store: VersionStore) -> list[str]:
    """Folders of builds that died."""
    return [p.name for p in store.drafts.folder.iterdir() if p.is_dir()]


class Dying(HashingEncoder):
    """Encodes so many times and then no more."""

    calls, dies_at = 0, 10**9

    def encode(self, texts):
        self.calls += 1
        if self.calls > self.dies_at:
            raise KeyboardInterrupt
        return super().encode(texts)


def test_a_build_that_died_is_invisible_and_goes_on_where_it_was(store, monkeypatch):
    """What was encoded is not encoded again, a finished shard is not written again, and the version is whole."""
    monkeypatch.setattr(encoding, "TOGETHER", 10)
    items = catalogue()
    first = dataclasses.replace(build(store), encoder=Dying(build(store).platform.encoder))
    first.encoder.dies_at = 3
    with pytest.raises(KeyboardInterrupt):
        first.publish(Content(items))
    assert store.versions() == []
    assert store.current() is None
    assert len(drafts(store)) == 1

    written = []

    def index(folders, *args):
        for folder in folders:
            written.append(folder.name)
            if written == ["shard-0", "shard-1"]:
                raise OSError("no space left on the device")
            yield from write_indexes([folder], *args)

    second = dataclasses.replace(build(store), encoder=Dying(build(store).platform.encoder), indexer=index)
    with pytest.raises(OSError, match="no space"):
        second.publish(Content(items))
    assert second.encoder.calls == 5 - 3
    assert store.versions() == []
    third = dataclasses.replace(build(store), encoder=Dying(build(store).platform.encoder), indexer=index)
    manifest = third.publish(Content(items))
    assert third.encoder.calls == 0
    assert written == ["shard-0", "shard-1", "shard-1"]
    assert store.verify(manifest.version).items == len(items)
    found = [i for n in range(2) for i in read_items(store.folder(manifest.version) / f"shard-{n}")]
    assert sorted(found, key=lambda i: i.item_id) == sorted(items, key=lambda i: i.item_id)
    assert {p.name for p in store.folder(manifest.version).iterdir()} == {"manifest.json", "shard-0", "shard-1"}
    assert drafts(store) == []


def test_other_items_do_not_go_on_with_what_died(store):
    """The draft of one catalogue is not taken for another's; it goes when the next build is through."""
    dying = dataclasses.replace(build(store), encoder=Dying(build(store).platform.encoder))
    dying.encoder.dies_at = 0
    with pytest.raises(KeyboardInterrupt):
        dying.publish(Content(catalogue()))
    manifest = build(store).publish(Content(catalogue(2)))
    assert manifest.items == 8
    assert drafts(store) == []


def test_one_build_at_a_time(store):
    """A second one is refused in words; when the first is over it may."""
    with store.drafts.alone(), pytest.raises(VersionError, match="another build is under way"), store.drafts.alone():
        pass
    with store.drafts.alone():
        pass


def test_texts_that_are_known_are_not_encoded_again(store):
    """Of an earlier version by the same encoder; new texts are encoded, and the vectors are each item's own."""
    platform = build(store).platform
    items = catalogue()
    store.promote(build(store).publish(Content(items)).version)
    changed = [*items[:-2], dataclasses.replace(items[-1], title="other"), Item("new", "new text")]
    fresh = dataclasses.replace(build(store), encoder=Dying(platform.encoder))
    asked: list[str] = []
    encode = fresh.encoder.encode
    fresh.encoder.encode = lambda texts: asked.extend(texts) or encode(texts)  # type: ignore[method-assign]
    version = fresh.publish(file_content(store, changed, platform, fresh.encoder.fingerprint)).version
    assert sorted(asked) == sorted(i.passage() for i in changed[-2:])
    plain = HashingEncoder(platform.encoder)
    for shard in shards_of(store, version):
        for row in shard.items.live_rows():
            vector = plain.encode([shard.items.item(row).passage()])
            np.testing.assert_allclose(shard.items.vectors(np.array([row])), vector, atol=1e-6)
