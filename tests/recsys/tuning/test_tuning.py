"""Recall is measured by kind of query, over distinct vectors, and a build finds the settings that hold its floor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.data.interactions import Interactions
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import VersionError
from recsys.index.base import engine
from recsys.model.card import ModelCard
from recsys.model.space import Space
from recsys.model.trained import Trained
from recsys.shard.inspection import self_lookup
from recsys.shard.probes import sample_queries
from recsys.shard.recall import Exact, neighbours, recall
from recsys.training.blend import START
from recsys.training.trainer import Trainer
from recsys.tuning.measuring import RECALL_FLOOR
from recsys.tuning.probe_queries import probe_queries
from recsys.versions.build import Build, Content
from recsys.versions.model_files import read_model
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.people import people
from tests.support.world import TOPICS, catalogue, unit_rows

DIMENSION = 48
POOR = {"m": 4, "ef_construction": 8}
"""A graph that misses much."""


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, DIMENSION)))


def content(texts: np.ndarray, **given) -> Content:
    items = [Item(f"i{n}", f"text {n}") for n in range(len(texts))]
    return Content(items, {item.passage(): text for item, text in zip(items, texts, strict=True)}, **given)


def build(root: Path, ef_search: int = 64, shards: int = 1, **index) -> Build:
    encoder = EncoderSpec(kind="hashing", dimension=DIMENSION)
    platform = Platform(shards=shards, encoder=encoder, index=IndexSpec.of(**index))
    return Build(platform, VersionStore(root), HashingEncoder(encoder), 1, ShardTuning(ef_search=ef_search))


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A shard of 600 items of one vector and 64 others."""
    some = vectors(65)
    made = build(tmp_path_factory.mktemp("copies"), engine="flat")
    manifest = made.publish(content(np.concatenate([np.repeat(some[:1], 600, axis=0), some[1:]])))
    return made.store, manifest.version, some


def only_copies(shard):
    """The index as it is when everything but the copies is lost to it."""
    right = shard.index.search
    copy = np.array([int(item_id[1:]) < 600 for item_id in shard.ids(np.arange(664))])

    def search(queries, k):
        rows, scores = right(queries, 664)
        keep = np.stack([np.flatnonzero((row >= 0) & copy[row])[:k] for row in rows])
        return np.take_along_axis(rows, keep, 1), np.take_along_axis(scores, keep, 1)

    shard.index.search = search
    return shard


def test_a_copy_is_not_found_in_place_of_another_vector(copies):
    """With all distinct vectors lost but one, hardly anything is found, however many copies that one has."""
    store, version, some = copies
    assert self_lookup(open_shard(store, version, 0), 200) == 1.0
    lost = only_copies(open_shard(store, version, 0))
    assert self_lookup(lost, 200) < 0.05
    lost.tune(ShardTuning(exact_below=0))
    queries = some[1:33]
    assert recall([open_shard(store, version, 0)], queries) == 1.0
    assert recall([lost], queries) < 0.2


def test_every_distinct_vector_may_be_sampled(copies):
    """Of one in eleven items that is no copy all are asked for, wherever they stand among the rows."""
    store, version, _ = copies
    shard = open_shard(store, version, 0)
    looked_for = []
    right = shard.index.search
    shard.index.search = lambda queries, k: looked_for.append(len(queries)) or right(queries, k)
    assert self_lookup(shard, 200) == 1.0
    assert looked_for == [65]


def test_ef_search_is_raised_until_the_floor_holds_and_is_what_shards_serve_with(tmp_path):
    """The manifest says what was asked and chosen; a smaller setting of the operator gives way, a larger one wins."""
    made = build(tmp_path, ef_search=1, m=8, ef_construction=40)
    manifest = made.publish(content(vectors(4000)))
    tuned = manifest.tuned
    assert tuned is not None
    assert 1 < tuned.ef_search <= 512
    assert tuned.asked == manifest.index == made.platform.index
    assert set(tuned.recall) == {"texts", "tastes", "items"}
    assert RECALL_FLOOR <= min(tuned.recall.values()) == manifest.recall_at_10
    assert manifest.self_lookup is not None
    assert manifest.self_lookup >= RECALL_FLOOR
    shard = open_shard(made.store, manifest.version, 0)
    shard.tune(ShardTuning(ef_search=1))
    assert shard.tuning.ef_search == tuned.ef_search
    shard.tune(ShardTuning(ef_search=2000))
    assert shard.tuning.ef_search == 2000


def test_where_the_bound_of_ef_search_is_not_enough_links_are_added_and_later_builds_begin_there(tmp_path):
    """m doubles, within its limit; the next build of the same config file needs one try, another file begins anew."""
    made = build(tmp_path, ef_search=16, ef_search_limit=60, **POOR)
    first = made.publish(content(vectors(2000)))
    assert first.tuned is not None
    assert len(first.tuned.tried) > 1
    assert first.index.m > 4
    assert first.index.ef_construction > 8
    made.store.promote(first.version)
    second = made.publish(content(vectors(2000)))
    assert second.tuned is not None
    assert second.index == first.index
    assert len(second.tuned.tried) == 1
    third = dataclasses.replace(made, stronger=True).publish(content(vectors(2000)))
    assert third.index == next(first.index.stronger())
    other = build(tmp_path, ef_search=16, m=32, ef_construction=200)
    assert other.publish(content(vectors(2000))).index == other.platform.index


def test_a_build_ends_when_exact_search_is_the_only_way_left(tmp_path):
    """It says so with the number and the fix, and leaves nothing behind; exact search then takes the same items."""
    limits = {"ef_search_limit": 1, "m_limit": 4}
    made = build(tmp_path, ef_search=1, **limits, **POOR)
    with pytest.raises(VersionError, match=r"under 0\.95, with hnsw m 4 .* set index\.engine: flat"):
        made.publish(content(vectors(4000)))
    assert made.store.versions() == []
    exact = build(tmp_path, ef_search=1, engine="flat").publish(content(vectors(4000)))
    assert exact.recall_at_10 == 1.0


def test_what_no_graph_would_find_is_said_before_anything_is_learned(tmp_path):
    """A sample of the texts decides; nothing is trained for a version that could not be published."""
    made = build(tmp_path, ef_search=1, ef_search_limit=1, m_limit=4, **POOR)
    given = content(vectors(4000))
    events = Interactions.of(["u"] * 4, ["i1", "i2", "i3", "i4"], [1, 2, 3, 4], None, [i.item_id for i in given.items])
    said = []
    with pytest.raises(VersionError, match="recall@10 of 4000 texts"):
        Trainer(made, Serving()).train(given.items, vectors(4000), events, lambda *step: said.append(step))
    assert said == []


def learned(n: int, seed: int = 0) -> Trained:
    """Factors of which a few are ten times as long as a text, as those of what everybody likes are."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.standard_normal(n) * 1.2 - 1.5)
    lengths[:8] = 12.0
    factors = unit_rows(rng.standard_normal((n, 16))) * lengths[:, None].astype(np.float32)
    contexts = unit_rows(rng.standard_normal((n, 16))) * np.float32(0.05)
    nothing = sp.csr_array((n, n), dtype=np.float32)
    maps = np.zeros((DIMENSION + 1, 16), np.float32)
    card = ModelCard(data_sha256="", users=0, items=n, events=0, seed=0, seconds=0, parameters={}, validation={})
    space = Space(text=DIMENSION, learned=16, text_weight=0.1)
    ids = [f"i{k}" for k in range(n)]
    factors = factors.astype(np.float32)
    return Trained(ids, factors, contexts, np.ones(n, bool), nothing, nothing, maps, maps, None, False, space, START,
                   None, card)  # fmt: skip


def test_the_parts_are_balanced_so_that_texts_are_found_as_well_as_tastes(tmp_path):
    """Unbalanced, texts are under the floor at the ef_search that was asked for; balanced all kinds hold it there,
    every score stays what it was, and a rebuild begins with the balance.
    """
    texts, model = vectors(900), learned(900)
    uneven = dataclasses.replace(model, space=model.space.model_copy(update={"balance": 1.0}))
    exact = build(tmp_path / "exact", engine="flat", shards=2)
    plain = exact.publish(content(texts), trained=uneven)
    made = build(tmp_path / "graph", shards=2)
    manifest = made.publish(content(texts), trained=model)
    tuned = manifest.tuned
    assert tuned is not None
    assert manifest.space is not None
    assert tuned.balance == manifest.space.balance
    assert tuned.balance > 1
    assert tuned.ef_search == 64
    assert min(tuned.recall.values()) >= RECALL_FLOOR
    made.store.promote(manifest.version)
    again = made.publish(content(texts), trained=read_model(made.store, manifest))
    assert again.space == manifest.space

    balance = np.float32(tuned.balance)
    layout = uneven.layout([Item(f"i{k}") for k in range(900)], texts, {})
    question = probe_queries(texts, layout, uneven.item_ids, None, n=40)
    before = [open_shard(exact.store, plain.version, n) for n in range(2)]
    after = [open_shard(made.store, manifest.version, n) for n in range(2)]
    for kind, queries in question.kinds.items():
        scaled = question.balanced(DIMENSION, tuned.balance).kinds[kind]
        for one, other in zip(neighbours(before, queries, 10), neighbours(after, scaled, 10), strict=True):
            for item in one.keys() & other.keys():
                assert one[item] == pytest.approx(other[item], abs=1e-5)
    # A taste and its long part are made of contexts, which come balanced from the shards.
    (context,), (raw,) = (s[0].vectors_of(["i3"])[1] if s[0].items.row("i3") is not None else s[1].vectors_of(["i3"])[1]
                          for s in (after, before))  # fmt: skip
    np.testing.assert_allclose(context[DIMENSION:], raw[DIMENSION:] * balance, rtol=1e-5)
    taste = manifest.space.added(np.stack([context]))[0]
    long = manifest.space.long_query(taste)[DIMENSION:]
    np.testing.assert_allclose(np.linalg.norm(long), balance, rtol=1e-5)


def test_each_kind_holds_the_floor_by_itself(tmp_path):
    """Of a graph of the learned part alone tastes are found and texts are not: their mean would do, and it is refused.
    A balance that was carried over and does not do any more is chosen anew.
    """
    texts, model = vectors(900), learned(900)
    uneven = dataclasses.replace(model, space=model.space.model_copy(update={"balance": 0.5}))
    made = build(tmp_path, ef_search_limit=64)
    manifest = made.publish(content(texts), trained=uneven)
    assert manifest.tuned is not None
    first = manifest.tuned.tried[0]
    by_kind = {kind: float(first.split(f"recall@10 of {kind} ")[1].split(",")[0]) for kind in manifest.tuned.recall}
    assert by_kind["texts"] < RECALL_FLOOR <= by_kind["tastes"]
    assert manifest.space is not None
    assert manifest.space.balance != 0.5


def test_tastes_are_those_of_users_where_there_are_some():
    """Folded as profiles are; without histories walks along the model's neighbour rows, without a model means."""
    data, items = people(), catalogue()
    texts = HashingEncoder(EncoderSpec(kind="hashing", dimension=32)).encode([item.passage() for item in items])
    ids = [item.item_id for item in items]
    plain = probe_queries(texts, None, ids, None)
    assert plain.tastes_of == "items"
    of_users = probe_queries(texts, None, ids, data)
    assert of_users.tastes_of == "users"
    np.testing.assert_allclose(np.linalg.norm(of_users.kinds["tastes"], axis=1), 1, atol=1e-5)
    near = sp.csr_array(np.kron(np.eye(len(TOPICS)), np.ones((12, 12))).astype(np.float32))
    n = len(items)
    model = dataclasses.replace(
        learned(n), item_ids=ids, near=near, item_map=np.zeros((33, 16), np.float32),
        context_map=np.zeros((33, 16), np.float32), space=Space(text=32, learned=16, text_weight=0.1),
    )  # fmt: skip
    layout = model.layout(items, texts, {})
    walked = probe_queries(texts, layout, ids, None)
    assert walked.tastes_of == "walks"
    assert probe_queries(texts, layout, ids, data).tastes_of == "users"
    assert {kind: q.shape[1] for kind, q in walked.kinds.items()} == dict.fromkeys(("texts", "tastes", "items"), 48)


def test_exact_answers_are_asked_for_once(copies):
    """Fewer distinct vectors than ten are wanted where copies fill what a request may ask for."""
    store, version, some = copies
    exact = Exact.of([open_shard(store, version, 0)], some[:1])
    assert exact.wanted.tolist() == [1]
    assert exact.recall() == 1.0
    assert Exact.of([open_shard(store, version, 0)], sample_queries(some[1:], 5)).wanted.max() > 1


@pytest.mark.parametrize("name", ["hnsw", "hnsw_int8", "flat"])
def test_a_query_finds_the_same_however_long_it_is(name):
    """A taste of a learned version is a hundredth of an item's length; rows and scores are in proportion."""
    spec, some = IndexSpec.of(name), vectors(500)
    index = engine(spec).create(spec, DIMENSION)
    index.add(np.arange(500), some)
    queries = sample_queries(some, 20)
    rows, scores = index.search(queries, 10)
    for length in (0.01, 30.0):
        found, scaled = index.search(queries * np.float32(length), 10)
        assert (np.sort(found[:, :10]) == np.sort(rows[:, :10])).mean() > 0.98  # a last bit of a query may round
        np.testing.assert_allclose(scaled[:, :10], scores[:, :10] * length, atol=0.02 * length)
    assert (index.search(np.zeros((1, DIMENSION), np.float32), 10)[0] >= 0).all()
