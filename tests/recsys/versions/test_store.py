"""Published versions on disk: building, reading back, checking, promoting."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fsspec.core import url_to_fs

from recsys.config.index import IndexSpec
from recsys.config.platform import RoutingSpec
from recsys.datatypes import Condition, Filter, Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import VersionError
from recsys.routing import Router
from recsys.shard.recall import neighbours
from recsys.shard.snapshot import read_items
from recsys.state.tie_breaking import in_catalogue_order
from recsys.versions.build import Content, by_text
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.builds import SHARD_FILES, build, shards_of
from tests.support.world import DIMENSION, catalogue


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "versions")


@pytest.mark.parametrize("engine", ["hnsw", "hnsw_int8", "flat"])
def test_a_shard_comes_back_as_it_was_written(store, engine):
    """Every item of the catalogue is in its owner's shard with all it holds and its vector; the search finds it."""
    items = [*catalogue(), Item("ü/ bare"), Item("q", "T", "x" * 5000, {"tags": [], "number": -0.5}, None)]
    manifest = build(store, index=IndexSpec.of(engine)).publish(Content(items))
    router, encoder = Router(RoutingSpec(), 2), HashingEncoder(manifest.encoder)
    shards = shards_of(store, manifest.version)
    for item in items:
        shard = shards[router.owner(item)]
        assert shard.item(item.item_id) == item
        vector = shard.items.vectors(shard.items.rows([item.item_id]))
        np.testing.assert_allclose(vector, encoder.encode([item.passage()]), atol=1e-6)
        found, _ = shard.index.search(vector, 3)
        assert shard.items.row(item.item_id) in found[0]
    assert sum(s.items.live for s in shards) == manifest.items == len(items)
    assert [len(s.index) for s in shards] == [m.items for m in manifest.shards]
    sea = Filter(must=(Condition("topic", "any", ("sea",)), Condition("number", "range", low=3)))
    names = {s.items.ids[r] for s in shards for r in s.lists.matches(sea)}
    assert names == {f"sea-{i}" for i in range(3, 12)}


def test_the_manifest_says_what_the_version_is(store):
    """Recall is measured, the fingerprint is the encoder's, the checksums are of all files."""
    manifest = build(store).publish(Content(catalogue()))
    assert manifest == store.manifest(manifest.version)
    assert manifest.recall_at_10 is not None
    assert 0.95 <= manifest.recall_at_10 <= 1.0
    assert manifest.fingerprint == HashingEncoder(manifest.encoder).fingerprint
    files = {p.name for p in (store.folder(manifest.version) / "shard-0").iterdir()}
    assert set(manifest.shards[0].sha256) == files == set(SHARD_FILES)


def test_the_last_of_several_items_with_one_id_wins(store):
    """It is in the version once."""
    manifest = build(store).publish(Content([Item("a", "first"), Item("b"), Item("a", "second")]))
    found = [i for n in range(2) for i in read_items(store.folder(manifest.version) / f"shard-{n}")]
    assert sorted((i.item_id, i.title) for i in found) == [("a", "second"), ("b", "")]


@pytest.mark.parametrize("engine", ["hnsw", "hnsw_int8", "flat"])
def test_an_empty_catalogue_is_a_version_too(store, engine):
    """It can be loaded, searched, and grows; recall is not measured."""
    manifest = build(store, index=IndexSpec.of(engine)).publish(Content([]))
    assert (manifest.items, manifest.recall_at_10) == (0, None)
    shards = shards_of(store, manifest.version)
    queries = np.eye(DIMENSION, dtype=np.float32)[:2]
    assert neighbours(shards, queries, 5) == [{}, {}]
    shards[0].upsert([Item("new")], queries[:1])
    assert neighbours(shards, queries, 5)[0].keys() == {"new"}


def test_shards_without_items(store):
    """More shards than items: the others are empty and answer."""
    manifest = build(store, shards=7).publish(Content([Item("a", "one"), Item("b", "two")]))
    assert sorted(m.items for m in manifest.shards)[:5] == [0] * 5
    assert manifest.recall_at_10 == 1.0


def test_routing_by_an_attribute(store):
    """Items of one topic are in one shard."""
    manifest = build(store, shards=3, routing=RoutingSpec(by="attribute", attribute="topic")).publish(
        Content(catalogue())
    )
    topics = [
        {i.attributes["topic"] for i in read_items(store.folder(manifest.version) / f"shard-{n}")} for n in range(3)
    ]
    assert sum(map(len, topics)) == len(set().union(*topics)) == 4


def test_progress_is_told(store):
    """Every phase begins at 0 and ends complete; where no text is to be encoded, that is no phase."""
    told: dict[str, list[tuple[int, int]]] = {}
    build(store).publish(Content(catalogue()), lambda phase, done, of: told.setdefault(phase, []).append((done, of)))
    assert set(told) == {"encode", "index", "verify"}
    for steps in told.values():
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
    told.clear()
    known = by_text(catalogue(), build(store).encoder.encode([item.passage() for item in catalogue()]))
    content = Content(catalogue(), known)
    build(store).publish(content, lambda phase, done, of: told.setdefault(phase, []).append((done, of)))
    assert set(told) == {"index", "verify"}


def test_promote_and_rollback(store):
    """Current is what was promoted last; rollback walks back through what was served, each intact."""
    names = [build(store).publish(Content(catalogue(2))).version for _ in range(3)]
    assert [m.version for m in store.versions()] == sorted(names) == names
    assert store.current() is None
    with pytest.raises(VersionError, match="no earlier version"):
        store.rollback()
    for name in (*names, names[-1]):  # promoting what is served already changes nothing
        assert store.promote(name).version == store.current() == name
    assert [store.rollback().version, store.rollback().version] == [names[1], names[0]]
    assert store.current() == names[0]
    with pytest.raises(VersionError, match="no earlier version"):
        store.rollback()


def test_a_name_is_not_given_twice(store):
    """Of versions of one second the earlier may be gone, and folders that only look alike do not count."""
    made = []
    for _ in range(6):
        made.append(build(store, shards=1).publish(Content(catalogue(1))).version)
        if len(made) > 2:
            store.remove(made[len(made) - 3])
    assert sorted(set(made)) == made
    stamp = store.new_name()[:16]
    for name in (f"{stamp}-1", f"{stamp}-7", f"{stamp}-copy", f"{stamp}9"):
        (store.root / name).mkdir(exist_ok=True)
        (store.root / name / "manifest.json").write_text("{}")
    fresh = store.new_name()
    assert fresh == f"{stamp}-8" or not fresh.startswith(stamp)  # the second may be over


@pytest.mark.parametrize("url", ["memory://bucket/versions", "file://{}"])
def test_versions_may_lie_behind_a_url(tmp_path, url):
    """Built, listed, promoted, checked, loaded, rolled back and removed; a damaged copy is fetched again."""
    url = url.format(tmp_path / "far")
    here, there = VersionStore(url, tmp_path / "a"), VersionStore(url, tmp_path / "b")
    assert (there.versions(), there.current()) == ([], None)
    names = [build(here).publish(Content(catalogue(n))).version for n in (2, 3)]
    for name in names:
        here.promote(name)
    assert [m.version for m in there.versions()] == names
    assert there.current() == names[1]
    assert open_shard(there, names[1], 0).items.live + open_shard(there, names[1], 1).items.live == 12
    path = there.folder(names[1]) / "shard-0" / "vectors.npy"
    if url.startswith("memory"):
        assert tmp_path / "b" in path.parents
        path.write_bytes(b"?")
        assert open_shard(there, names[1], 0).items.live == there.manifest(names[1]).shards[0].items
    assert here.rollback().version == names[0]
    here.remove(names[1])
    assert [m.version for m in VersionStore(url, tmp_path / "c").versions()] == names[:1]
    with pytest.raises(VersionError, match="is the one to serve"):
        here.remove(names[0])
    with pytest.raises(VersionError, match="no version"):
        there.manifest(names[1])


def test_an_object_store_shows_a_version_with_its_manifest_only(tmp_path, monkeypatch):
    """An upload that dies before its end leaves nothing visible."""
    store = VersionStore("memory://bucket/partly", tmp_path / "a")
    fs, _ = url_to_fs("memory://bucket/partly")
    put = fs.put_file

    def dying(source, target, *args, **options):
        if target.endswith("manifest.json"):
            raise OSError("gone")
        return put(source, target, *args, **options)

    monkeypatch.setattr(fs, "put_file", dying)
    with pytest.raises(OSError, match="gone"):
        build(store).publish(Content(catalogue(2)))
    assert fs.glob("/bucket/partly/*/shard-0/*")
    assert store.versions() == VersionStore("memory://bucket/partly", tmp_path / "b").versions() == []


def test_folders_that_are_no_versions_are_passed_over(store):
    """An unreadable manifest is an error that says so, and no version."""
    good = build(store).publish(Content(catalogue(2))).version
    for name, text in (("cut", "{"), ("other", json.dumps({"version": "other"}))):
        (store.root / name).mkdir()
        (store.root / name / "manifest.json").write_text(text)
        with pytest.raises(VersionError, match=f"manifest of version {name}"):
            store.manifest(name)
    (store.root / "empty").mkdir()
    assert [m.version for m in store.versions()] == [good]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "CURRENT", "no such", "x\0y"])
def test_a_name_never_leaves_the_folder(store, name):
    """Whatever is asked for, it is a version of this store or a VersionError."""
    store.promote(build(store).publish(Content(catalogue(2))).version)
    for attempt in (store.manifest, store.promote, store.verify, lambda n: open_shard(store, n, 0)):
        with pytest.raises(VersionError):
            attempt(name)


def test_a_shard_that_the_version_lacks(store):
    """Asking a version of two shards for the third says how many there are."""
    version = build(store).publish(Content(catalogue(2))).version
    with pytest.raises(VersionError, match="has 2 shards, and shard-2"):
        open_shard(store, version, 2)


def test_current_is_replaced_at_once(store, monkeypatch):
    """A promotion that dies before the rename leaves the old CURRENT whole; a garbled one is an error that names it."""
    one, two = (build(store).publish(Content(catalogue(2))).version for _ in range(2))
    store.promote(one)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("power")))
        with pytest.raises(OSError, match="power"):
            store.promote(two)
    assert store.current() == one
    assert [m.version for m in store.versions()] == [one, two]
    (store.root / "CURRENT").write_text("v1")
    with pytest.raises(VersionError, match="CURRENT cannot be read"):
        store.current()


def test_an_absent_folder_holds_no_versions(tmp_path):
    """Before the first build."""
    store = VersionStore(tmp_path / "none")
    assert store.versions() == []
    assert store.current() is None


def test_builds_of_one_second_have_names_in_order(store):
    """Names are never used twice, and the later sorts behind."""
    names = [build(store).publish(Content([])).version for _ in range(4)]
    assert names == sorted(set(names))


def test_a_build_is_what_it_was_built_with(store):
    """A frozen record: a change of the platform is another build."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        build(store).threads = 2


@pytest.mark.parametrize(("more", "named"), [({"cut": []}, "cut"), ({"items": "many"}, "items")])
def test_the_manifest_of_another_release_is_refused_in_one_line(store, more, named):
    """With the field, and what to do."""
    version = build(store, shards=1).publish(Content(catalogue(1))).version
    path = store.root / version / "manifest.json"
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | more).encode())
    with pytest.raises(
        VersionError, match=rf"{version} cannot be read: {named}.*build a version with this one"
    ) as wrong:
        store.manifest(version)
    assert "\n" not in str(wrong.value)
    assert "pydantic" not in str(wrong.value)


def test_vectors_of_all_items_take_the_place_of_texts(store, tmp_path):
    """From a map of a file: the version is the one whose texts were encoded. Items in another order are refused."""
    items = in_catalogue_order(catalogue(4))
    builder = build(store, shards=1)
    encoded = builder.publish(Content(items))
    np.save(tmp_path / "v.npy", builder.encoder.encode([item.passage() for item in items]))
    vectors = np.load(tmp_path / "v.npy", mmap_mode="r")
    given = builder.publish(Content(items, vectors=vectors, brought="file"))
    assert given.shards[0].sha256 == encoded.shards[0].sha256
    with pytest.raises(ValueError, match="catalogue order"):
        builder.publish(Content(items[::-1], vectors=vectors))
