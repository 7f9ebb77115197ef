"""Operators against their definitions, and a model trained, built and served on people who go from topic to topic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.data.interactions import Interactions
from recsys.datatypes import Item
from recsys.encoders.catalogue import encode_all
from recsys.errors import VersionError
from recsys.evaluation.metrics import per_case
from recsys.evaluation.offline import Offline
from recsys.evaluation.splits import leave_last_out, rolling
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import FEATURES, Ranker, library
from recsys.training import blend, item_operators, parameter_search, ranker_training
from recsys.training.case_table import CaseTable
from recsys.training.factors import factorise
from recsys.training.trainer import Trainer
from recsys.versions.build import Content
from recsys.versions.model_files import read_model
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore
from tests.support.people import build, people, publish
from tests.support.world import DIMENSION, TOPICS, catalogue, topic_of

IDS = [item.item_id for item in catalogue()]


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_ease_is_the_ridge_regression_without_itself(dropout):
    """Each column: the weights of the other items that predict it best, by the normal equations of just those. Inputs
    of which a share is lost, the others scaled up for it, have the same products with each other and larger squares.
    """
    rng = np.random.default_rng(0)
    seen = (rng.random((40, 6)) < 0.4).astype(np.float32)
    gram = seen.T @ seen
    weights = item_operators.ease(gram, 3.0, dropout)
    lossy = gram + np.diag(np.diag(gram) * dropout / (1 - dropout))
    for j in range(6):
        others = [i for i in range(6) if i != j]
        expected = np.linalg.solve(lossy[np.ix_(others, others)] + 3.0 * np.eye(5), gram[others, j])
        np.testing.assert_allclose(weights[others, j], expected, rtol=1e-4)
    assert not np.diag(weights).any()


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_local_ease_with_all_neighbours_is_ease(dropout):
    """On the same pairs, when no column has more neighbours than it may use."""
    data = people(60)
    pairs = item_operators.near_pairs(data, 5.0, 12)
    np.testing.assert_allclose(
        item_operators.local_ease(pairs, 2.0, 48, dropout).toarray()[pairs.toarray() > 0],
        _restricted(pairs.toarray(), 2.0, dropout)[pairs.toarray() > 0],
        atol=1e-4,
    )


def _restricted(gram: np.ndarray, ridge: float, dropout: float) -> np.ndarray:
    weights, gram = np.zeros_like(gram), gram + np.diag(np.diag(gram) * dropout / (1 - dropout))
    for j in range(len(gram)):
        near = np.flatnonzero((gram[:, j] > 0) & (np.arange(len(gram)) != j))
        if len(near):
            weights[near, j] = np.linalg.solve(gram[np.ix_(near, near)] + ridge * np.eye(len(near)), gram[near, j])
    return weights


def test_pairs_weigh_by_their_distance():
    data = Interactions.of(["u"] * 3, ["a", "b", "c"], [1, 2, 3])
    made = item_operators.grams(data, [2.0])[2.0]
    far = item_operators.FLOOR + (1 - item_operators.FLOOR) * np.exp(-1.0)
    np.testing.assert_allclose(made[0, [0, 2]], [1.0, far], rtol=1e-6)
    assert item_operators.follows(data).toarray()[0, 1] > item_operators.follows(data).toarray()[0, 2] > 0
    assert item_operators.follows(data).toarray()[1, 0] == 0


def test_gram_matrices_of_several_spans_are_those_of_their_definition():
    """Pair by pair, up to the share that ends at _REACH spans; symmetric, likes of each item on the diagonal."""
    data = people(40)
    data = replace(data, weights=np.random.default_rng(4).uniform(0.5, 2.0, len(data)).astype(np.float32))
    for span, made in item_operators.grams(data, (1.0, 4.0)).items():
        expected = np.zeros_like(made)
        for user in range(data.users):
            mine = slice(data.offsets[user], data.offsets[user + 1])
            items, root = data.items[mine], np.sqrt(data.weights[mine])
            gap = np.abs(np.subtract.outer(np.arange(len(items)), np.arange(len(items))))
            near = item_operators.FLOOR + (1 - item_operators.FLOOR) * np.exp(-gap / span)
            expected[np.ix_(items, items)] += near * np.outer(root, root)
        left = np.exp(-5) * data.users if span * 5 < data.lengths.max() else 1e-4
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=left)
        np.testing.assert_allclose(made.diagonal(), data.counts(), rtol=1e-5)
        np.testing.assert_array_equal(made, made.T)


def test_the_search_hands_on_the_operator_of_what_it_chose():
    """It keeps two operators: the one it gives must be that of the parameters it gives, and its quality theirs."""
    held = rolling(people())
    chosen = parameter_search.choose(held, 7, lambda *_: None)
    again = parameter_search.Grams(held.train).operator(chosen.parameters.ridge)
    np.testing.assert_array_equal(chosen.operator, again)
    assert chosen.quality == parameter_search.quality(again, held, chosen.parameters) > 0.5
    worse = replace(chosen.parameters, half_life=max(parameter_search.GRID["half_life"]))
    assert chosen.quality >= parameter_search.quality(again, held, worse)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_the_strongest_are_kept_whole(kind):
    rng = np.random.default_rng(2)
    dense = rng.standard_normal((50, 30)).astype(np.float32)
    kept = item_operators.strongest(kind(dense), 4).toarray()
    for row, own in zip(kept, dense, strict=True):
        best = np.argsort(-np.abs(own))[:4]
        assert sorted(np.flatnonzero(row)) == sorted(best)
        np.testing.assert_array_equal(row[best], own[best])


def test_enough_factors_are_the_operator():
    operator = np.random.default_rng(3).standard_normal((20, 20)).astype(np.float32)
    made = factorise(operator, 32, 7)
    assert made.items.shape == (20, 32)
    np.testing.assert_allclose(made.contexts @ made.items.T, operator, atol=1e-3)


def test_a_trained_version_foresees_the_next_item(lesson):
    """Through real shards: the next number of the topic, which neither texts nor popularity know, is mostly on top."""
    made, test, version = lesson.build, lesson.held, lesson.version
    assert (version.model.startswith("learned"), version.space.learned) == (True, 128)
    served = Offline(made.store, version.version, test.train, Serving(), ShardTuning())
    ndcg = per_case(served.lists(test, lambda *_: None, diversity=0.0), test)["ndcg@10"].mean()
    plain = Offline(made.store, publish(made).version, test.train, Serving(), ShardTuning())
    assert ndcg > 0.9
    assert ndcg > 1.5 * per_case(plain.lists(test, lambda *_: None, diversity=0.0), test)["ndcg@10"].mean()


def test_the_same_seed_gives_the_same_model(lesson):
    model, train = lesson.model, lesson.held.train
    again = lesson.trainer.train(catalogue(), lesson.texts, train)
    np.testing.assert_array_equal(again.contexts, model.contexts)
    assert (again.weights, again.ranker) == (model.weights, model.ranker)
    assert again.card.data_sha256 == model.card.data_sha256 == train.sha256()


def test_without_trees_the_same_blend_decides(lesson):
    plain = Trainer(lesson.build, Serving(), rank=False).train(catalogue(), lesson.texts, lesson.held.train)
    assert (plain.ranker, plain.weights) == (None, lesson.model.weights)
    assert "trees" not in plain.card.validation


def test_a_new_item_stands_where_its_text_belongs(lesson):
    """An item that the model never saw is proposed as new to people whose topic it has, and an update keeps factors."""
    made, version = lesson.build, lesson.version
    shard = open_shard(made.store, version.version, 0)
    old = shard.items.ids[0]
    before = shard.vectors_of([old])[1]
    item = replace(shard.item(old), text="other words")
    shard.upsert([item], made.encoder.encode([item.passage()]))
    after = shard.vectors_of([old])[1]
    np.testing.assert_allclose(after[:, DIMENSION:], before[:, DIMENSION:], rtol=1e-5)
    assert not np.allclose(after[:, :DIMENSION], before[:, :DIMENSION])
    fresh = Item("sea-new", f"sea {TOPICS['sea']}", TOPICS["sea"])
    shard.upsert([fresh], made.encoder.encode([fresh.passage()]))
    context = shard.vectors_of(["sea-new"])[1][0]
    rows = shard.items.live_rows()
    query = version.space.context_query(context)
    names = [shard.items.ids[int(r)] for r in rows[np.argsort(-(shard.items.vectors(rows) @ query))][:4]]
    assert sum(topic_of(name) == "sea" for name in names) >= 3


def test_a_text_is_compared_with_texts_alone(lesson):
    texts, version = lesson.texts, lesson.version
    shard = open_shard(lesson.build.store, version.version, 0)
    rows = shard.items.live_rows()
    query = version.space.text_query(texts[0])
    np.testing.assert_allclose(
        shard.items.vectors(rows) @ query, shard.items.vectors(rows)[:, :DIMENSION] @ texts[0], atol=1e-6
    )


def test_without_cases_to_choose_by_there_is_still_a_model(tmp_path):
    """Two users of one item each: nothing to validate with, and nothing fails."""
    made = build(VersionStore(tmp_path))
    data = Interactions.of(["a", "b"], ["sea-0", "sea-1"], [1, 2], catalogue=[i.item_id for i in catalogue()])
    assert rolling(data).cases == 0
    model = Trainer(made, Serving()).train(catalogue(), encode_all(made.encoder, catalogue()), data)
    assert model.ranker is None
    publish(made, model)


def test_a_foreign_ranking_model_is_refused():
    """What LightGBM cannot read, and what was trained on other signals."""
    with pytest.raises(VersionError, match="cannot be read"):
        Ranker("no trees here")
    lightgbm = library()
    table = np.random.default_rng(0).random((60, 2))
    data = lightgbm.Dataset(table, (table[:, 0] > 0.5).astype(int), feature_name=["a", "b"])
    text = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 2).model_to_string()
    with pytest.raises(VersionError, match="train again"):
        Ranker(text)


def test_trees_that_know_fewer_signals_still_rank():
    """A version of before a signal was added is served on: its trees get the columns that they were trained on."""
    lightgbm = library()
    fewer = [name for name in FEATURES if name != "attention"]
    table = np.random.default_rng(0).random((200, len(FEATURES))).astype(np.float32)
    known = table[:, [FEATURES.index(name) for name in fewer]]
    data = lightgbm.Dataset(known, (known[:, -1] + known[:, 0] > 1).astype(int), feature_name=fewer)
    model = lightgbm.train({"objective": "regression", "verbosity": -1, "num_threads": 1}, data, 5)
    np.testing.assert_allclose(Ranker(model.model_to_string()).score(table), model.predict(known), rtol=1e-5)


@pytest.mark.parametrize("part", ["items", "contexts", "known", "item_map", "context_map", "near", "follows"])
def test_a_model_is_known_by_all_that_a_build_takes_over(lesson, part):
    """A model with other numbers, or with the same ones in other places, is another version."""
    model = lesson.model
    value = getattr(model, part)
    other = replace(model, **{part: value[::-1] if isinstance(value, np.ndarray) else sp.csr_array(value.T)})
    assert other.digest() != model.digest()
    renamed = replace(model, item_ids=[f"other-{item}" for item in model.item_ids])
    assert len({model.digest(), renamed.digest(), replace(model, keywords=not model.keywords).digest()}) == 3


def test_a_later_version_of_other_items_goes_on_with_what_was_learned(lesson):
    """Read back from a version, a model builds the same version again; an item that is gone takes nothing with it."""
    made, model = lesson.build, lesson.model
    first = publish(made, model)
    again = read_model(made.store, first)
    assert again.digest() == model.digest()
    fewer = made.publish(Content(catalogue()[1:]), trained=again)
    assert (fewer.space, fewer.weights, fewer.card) == (first.space, first.weights, first.card)
    held = {
        i: v for n in range(2) for i, v in zip(*open_shard(made.store, first.version, n).vectors_of(IDS), strict=True)
    }
    for n in range(2):
        for name, vector in zip(*open_shard(made.store, fewer.version, n).vectors_of(IDS), strict=True):
            np.testing.assert_allclose(vector, held[name], atol=1e-7)
    assert read_model(made.store, publish(made)) is None
    (made.store.folder(first.version) / "model.npz").write_bytes(b"other")
    with pytest.raises(VersionError, match="checksum"):
        read_model(made.store, first)


def test_each_case_is_asked_at_its_own_moment(lesson):
    """Where a user stands in a session does not depend on what others did when: one goes on, one comes back later."""
    ids = IDS[:4] * 2
    times = [0.0, 60.0, 120.0, 180.0, 1e6, 1e6 + 60, 1e6 + 120, 1e6 + 7200]
    held = leave_last_out(Interactions.of(["a"] * 4 + ["b"] * 4, ids, times, catalogue=IDS))
    offline = Offline(lesson.build.store, lesson.version.version, held.train, Serving(), ShardTuning())
    [(_, gathered)] = list(offline.gathered(held, 10))
    assert (gathered.sessions.tolist(), gathered.histories.tolist()) == ([3, 0], [3, 3])
    column = gathered.features()[:, FEATURES.index("session")]
    assert np.unique(column[gathered.candidates.requests == 0]).tolist() == [np.log1p(np.float32(3))]


@pytest.mark.parametrize(("share", "looked_at"), [(0.5, True), (0.05, False)])
def test_trees_look_at_the_session_only_where_enough_cases_are_in_one(monkeypatch, share, looked_at):
    """Who is in a session wants the opposite of who is not: to be learned from many, and not from a few."""
    monkeypatch.setattr(ranker_training, "SURE", -9.0)  # taken whatever its gain
    lightgbm = library()
    rng, cases = np.random.default_rng(2), 600
    session = np.where(rng.random(cases) < share, 5.0, 0.0).astype(np.float32)
    taste = rng.random((cases, 10)).astype(np.float32)
    hit = np.where(session[:, None] > 0, taste == taste.min(1, keepdims=True), taste == taste.max(1, keepdims=True))
    signals = np.zeros((cases * 10, len(SIGNALS)), np.float32)
    signals[:, list(SIGNALS).index("taste")] = taste.ravel()
    every, known = np.arange(0, cases * 10 + 1, 10), np.ones(cases, np.float32)
    table = CaseTable(
        signals, hit.ravel(), every, known, session, np.ones(cases * 10, np.int64), np.arange(cases), cases
    )
    text, _ = ranker_training.train_ranker(table, blend.START, 7)
    model = lightgbm.Booster(model_str=text)
    splits = dict(zip(model.feature_name(), model.feature_importance(), strict=True))
    assert (splits["session"] > 0) == looked_at
