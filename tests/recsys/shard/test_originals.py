"""What a shard keeps of its vectors beside the index: all, half of the bytes, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.shard.candidates import QUERY
from recsys.shard.probes import nearest_query, sample_queries
from recsys.shard.recall import Exact, recall
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.tuning.measuring import RECALL_FLOOR
from recsys.versions.build import Build, Content
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.world import unit_rows

D = 48
ENGINES = ["hnsw", "hnsw_int8", "flat", "faiss:IVF16,SQ8"]


def vectors(n: int = 700, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, D)))


def built(root: Path, texts: np.ndarray, engine: str, originals: str) -> tuple[VersionStore, str]:
    encoder = EncoderSpec(kind="hashing", dimension=D)
    platform = Platform(shards=1, encoder=encoder, index=IndexSpec.of(engine, originals=originals))
    store = VersionStore(root)
    items = [Item(f"i{n}", f"text {n}") for n in range(len(texts))]
    known = {item.passage(): text for item, text in zip(items, texts, strict=True)}
    made = Build(platform, store, HashingEncoder(encoder), 1, ShardTuning()).publish(Content(items, known))
    return store, made.version


def nearest(shard: Shard, queries: np.ndarray) -> list[dict[str, float]]:
    answer = search(shard, nearest_query(shard.version, queries, 50))
    found = []
    for start, end in zip(answer.offsets[:-1], answer.offsets[1:], strict=True):
        best = start + np.argsort(-answer.likeness[start:end, QUERY], kind="stable")[:10]
        found.append({answer.ids[int(row)]: float(answer.likeness[row, QUERY]) for row in best})
    return found


@pytest.mark.parametrize("originals", ["float16", "none"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_shard_answers_by_what_it_keeps(tmp_path, engine, originals):
    """Nearly as with exact vectors; scores are within half a thousandth for float16, and within what the engine rounds
    for none.
    """
    texts = vectors()
    store, version = built(tmp_path, texts, engine, originals)
    shard = open_shard(store, version, 0)
    queries = sample_queries(texts, 40)
    exact = np.argsort(-(queries @ texts.T), axis=1)[:, :10]
    found = nearest(shard, queries)
    hits = [len({f"i{row}" for row in line} & answer.keys()) / 10 for line, answer in zip(exact, found, strict=True)]
    assert np.mean(hits) >= 0.9
    off = 5e-4 if originals == "float16" or engine in ("hnsw", "flat") else 0.02
    for query, answer in zip(queries, found, strict=True):
        for item, score in answer.items():
            assert score == pytest.approx(float(query @ texts[int(item[1:])]), abs=off)


@pytest.mark.parametrize("originals", ["float16", "none"])
def test_items_come_and_go_and_are_scored_exactly(tmp_path, originals):
    """What the log brings is kept as it came; what it takes away is found no more; an item's text moves to its new
    vector.
    """
    texts, later = vectors(), vectors(3, seed=5)
    store, version = built(tmp_path, texts, "hnsw_int8", originals)
    shard = open_shard(store, version, 0)
    shard.upsert([Item("new", "new text"), Item("i7", "another text")], later[:2])
    shard.delete(["i8"])
    (first, second) = nearest(shard, later[:2])
    assert first["new"] == pytest.approx(1.0, abs=1e-5)
    assert second["i7"] == pytest.approx(1.0, abs=1e-5)
    (gone,) = nearest(shard, texts[8:9])
    assert "i8" not in gone
    assert recall([shard], sample_queries(texts, 30)) >= RECALL_FLOOR
    ids, contexts = shard.vectors_of(["i3", "new"])
    assert ids == ("i3", "new")
    np.testing.assert_allclose(contexts[0], texts[3], atol=0.02)
    np.testing.assert_array_equal(contexts[1], later[0])


def test_files_keep_the_vectors_that_a_shard_leaves_out(tmp_path):
    """As float16: a rebuild of what is live encodes no text again, and recall is measured against them."""
    texts = vectors()
    store, version = built(tmp_path, texts, "hnsw_int8", "none")
    stored = np.load(store.files(version, 0) / "vectors.npy")
    assert stored.dtype == np.float16
    shard = open_shard(store, version, 0)
    order = [int(item_id[1:]) for item_id in shard.ids(np.arange(len(texts)))]
    np.testing.assert_allclose(stored, texts[order], atol=5e-4)
    rows = np.arange(20)
    np.testing.assert_array_equal(shard.items.truth(rows), stored[:20].astype(np.float32))
    assert not np.array_equal(shard.items.vectors(rows), shard.items.truth(rows))


def test_recall_is_measured_by_the_vectors_that_a_version_is_made_of(tmp_path):
    """Not by the rounded ones that a shard scores with: an index that loses their order is seen to lose it."""
    texts = vectors()
    store, version = built(tmp_path, texts, "flat", "none")
    shard = open_shard(store, version, 0)
    queries = sample_queries(texts, 30)
    exact = Exact.of([shard], queries)
    assert exact.recall() == 1.0
    right, stored = shard.index.vectors, np.load(store.files(version, 0) / "vectors.npy")
    shard.items.leave_out_vectors(lambda rows: right(rows) * 0, lambda: stored)
    assert shard.items.rounded
    assert exact.recall() == 1.0  # the candidates are still the right ones, whatever their scores are here


def test_what_an_engine_does_not_give_back_cannot_be_left_out(tmp_path):
    """The config file is refused by the field, with what to set instead."""

    class Closed(IndexSpec):
        engine: str = "closed"

    with pytest.raises(ValueError, match="originals: closed does not give its vectors back; set float16 or float32"):
        Closed(originals="none")
    assert Closed(originals="float16").originals == "float16"
