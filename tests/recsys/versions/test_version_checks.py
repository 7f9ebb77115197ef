"""What is checked of a version: files by their checksums, an index by what it finds."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.errors import VersionError
from recsys.files import sha256
from recsys.index.base import engine
from recsys.shard.inspection import inspect
from recsys.shard.item_table import ItemTable
from recsys.shard.probes import sample_queries
from recsys.shard.recall import recall
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.versions.build import Content
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.builds import build, shards_of
from tests.support.world import DIMENSION, catalogue, unit_rows


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "versions")


def test_recall_is_one_for_exact_search_and_less_for_wrong_rows(store):
    """With the flat engine 1.0; with an index that misses the nearest rows as much less as it misses."""
    manifest = build(store, index=IndexSpec.of("flat"), shards=1).publish(Content(catalogue(100)))
    (shard,) = shards_of(store, manifest.version)
    shard.tune(ShardTuning(exact_below=0))
    queries = sample_queries(shard.items.vectors(shard.items.live_rows()), 50)
    assert recall([shard], queries) == 1.0
    assert recall([shard], queries[:0]) == 1.0
    right = shard.index.search

    def wrong(vectors, k):
        rows, scores = right(vectors, k + 5)
        return rows[:, 5:], scores[:, 5:]

    shard.index.search = wrong
    assert recall([shard], queries) == pytest.approx(0.5, abs=0.1)


def test_recall_of_few_items(store):
    """Fewer items than ten: all of them are the nearest; none at all is no miss."""
    manifest = build(store).publish(Content([Item(n, n) for n in "abc"]))
    shards = shards_of(store, manifest.version)
    assert recall(shards, np.eye(DIMENSION, dtype=np.float32)[:4]) == 1.0
    for shard in shards:
        shard.delete(["a", "b", "c"])
    assert recall(shards, np.eye(DIMENSION, dtype=np.float32)[:4]) == 1.0


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two versions that nobody served: tests take copies."""
    root = tmp_path_factory.mktemp("two-versions")
    for _ in range(2):
        build(VersionStore(root)).publish(Content(catalogue(2)))
    return root


@pytest.mark.parametrize(
    "name", ["items.parquet", "columns.bin", "documents.bin", "vectors.npy", "sketch.npy", "index.bin", "index.nodes"]
)
@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_a_damaged_file_is_refused_by_name(store, two_versions, name, damage):
    """Neither promoted, nor rolled back to, nor loaded; the served version stays."""
    shutil.copytree(two_versions, store.root)
    good, bad = (manifest.version for manifest in store.versions())
    store.promote(bad)
    store.promote(good)
    path = store.folder(bad) / "shard-1" / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    for attempt in (
        lambda: store.promote(bad),
        store.rollback,
        lambda: open_shard(store, bad, 1),
        lambda: store.verify(bad),
    ):
        with pytest.raises(VersionError) as refused:
            attempt()
        assert str(path) in str(refused.value)
    assert store.current() == good
    assert open_shard(store, bad, 0).items.live + open_shard(store, good, 1).items.live > 0


def test_verify_names_every_file_it_reads(store):
    """So that a progress bar has something to say."""
    seen: list[str] = []
    store.verify(build(store).publish(Content(catalogue(2))).version, seen.append)
    assert len(seen) == len(set(seen)) == 16


def test_an_index_that_does_not_fit_its_vectors_is_refused(store):
    """Though every checksum is right: neither items that are missing nor vectors of others get through."""
    items = catalogue(30)
    swapped = [dataclasses.replace(a, title=b.title, text=b.text) for a, b in zip(items, items[::-1], strict=True)]
    one, other = (build(store, shards=1).publish(Content(i)).version for i in (items, swapped))
    for broken, match in (("index.bin", "self-lookup|recall"), ("items", "manifest says")):
        folder, manifest = store.folder(one), store.manifest(one)
        shard = manifest.shards[0]
        if broken == "items":
            shard = shard.model_copy(update={"items": shard.items - 1})
        else:
            files = (broken, "index.nodes")
            for file in files:
                (folder / "shard-0" / file).write_bytes((store.folder(other) / "shard-0" / file).read_bytes())
            sums = {file: sha256(folder / "shard-0" / file) for file in files}
            shard = shard.model_copy(update={"sha256": shard.sha256 | sums})
        (folder / "manifest.json").write_text(manifest.model_copy(update={"shards": [shard]}).model_dump_json())
        with pytest.raises(VersionError, match=match):
            open_shard(store, one, 0)
    assert open_shard(store, other, 0).items.live == 120


@pytest.mark.parametrize("name", ["hnsw", "hnsw_int8"])
def test_an_index_whose_short_walk_misses_much_still_fits_its_vectors(name):
    """What a request's walk finds is measured while it serves; a shard is not refused for it."""
    n, spec = 3000, IndexSpec.of(name, m=4, ef_construction=100)
    vectors = unit_rows(np.random.default_rng(0).standard_normal((n, 64))).astype(np.float32)
    table, index = ItemTable({}, 64, Sketcher.fit(vectors)), engine(spec).create(spec, 64)
    table.adopt([Item(f"i{i}", "", "", {}, None) for i in range(n)], vectors)
    index.add(np.arange(n), vectors)
    shard = Shard("v", table, index)
    shard.tune(ShardTuning(ef_search=16))
    assert recall([shard], sample_queries(vectors[::100], 30)) < 0.75
    inspect(shard, n)
    assert shard.tuning.ef_search == 16
