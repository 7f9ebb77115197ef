"""Dislikes as negatives: where they stand in the windows of likes, and that network and trees learn from them."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.data.dislikes import Dislikes
from recsys.data.interactions import Interactions
from recsys.datatypes import item_keys
from recsys.evaluation.offline import Offline
from recsys.model.profiles import TRAIL
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import library
from recsys.training import blend, ranker_training
from recsys.training.case_table import CaseTable, gather
from recsys.training.factors import Factors
from recsys.training.window_dislikes import WindowDislikes

NAMES = [f"i{n}" for n in range(24)]


@pytest.fixture(scope="module")
def attention() -> Any:
    """The module: it imports torch, for which not every process that collects tests should wait."""
    return import_module("recsys.training.attention")


@given(
    st.lists(st.tuples(st.integers(0, 3 * TRAIL), st.lists(st.integers(-1, 3 * TRAIL + 1), max_size=6)), max_size=5),
    st.randoms(use_true_random=False),
)
def test_each_dislike_stands_where_the_next_like_is_predicted(attention, people, random) -> None:
    """Against the windows themselves: its target is the first like after it, else the last one."""
    count = 4 * TRAIL
    users, items, times = [], [], []
    against: list[list[float]] = []
    for u, (likes, dislikes) in enumerate(people):
        users += [f"u{u}"] * likes
        items += [f"i{n}" for n in range(likes)]
        times += [float(n) for n in range(likes)]
        if likes:
            against.append(sorted(t + 0.5 for t in dislikes))
    data = Interactions.of(users, items, times, catalogue=[f"i{n}" for n in range(count)])
    lengths = np.array([0, *map(len, against)])
    moments = np.array([t for own in against for t in own], np.float64)
    data = replace(data, disliked=Dislikes(np.cumsum(lengths), np.full(len(moments), count - 1), moments))
    code = np.arange(1, count + 1)
    windows = attention.windows_of(data, code[data.items])
    placed = WindowDislikes.of(data, code)
    order = list(range(len(windows)))
    random.shuffle(order)
    places, codes = placed.among(np.array(order, np.int64))
    targets = windows[order][:, 1:].ravel()[places] if order else np.zeros(0, np.int64)
    expected = [
        min(max(sum(n <= t for n in range(int(data.lengths[u]))), 1), int(data.lengths[u]) - 1) + 1
        for u, own in enumerate(against)
        for t in own
        if data.lengths[u] > 1
    ]
    assert sorted(targets.tolist()) == sorted(expected)
    assert set(codes.tolist()) <= {count}


def test_the_network_expects_less_of_what_is_disliked(attention) -> None:
    """Two items follow everything equally often; whoever takes one says no to the other."""
    rng = np.random.default_rng(5)
    rows, against = [], []
    for u in range(200):
        way, start = u % 2, int(rng.integers(0, 10))
        for n in range(8):
            rows.append((f"u{u}", f"i{2 * ((start + n) % 10) + way}", float(n), 1.0))
            against.append((f"u{u}", f"i{2 * ((start + n) % 10) + 1 - way}", n + 0.5, -1.0))
    made = np.random.default_rng(6).standard_normal((len(NAMES), 32)).astype(np.float32)

    def gap(given: list[tuple[str, str, float, float]]) -> float:
        """How much more is expected of the user's own next item than of its disliked sister, after one like."""
        users, items, times, weights = zip(*given, strict=True)
        data = Interactions.of(users, items, times, weights, NAMES)
        network = attention.train_attention(data, Factors(made, made), 7, lambda *_: None)
        trail = item_keys([f"i{2 * n + way}" for n in range(10) for way in (0, 1)])
        _, expected, _ = network.expected(trail, np.arange(21))
        scores = expected @ network.items.T
        at = {int(key): place for place, key in enumerate(network.keys.tolist())}
        own = [at[int(k)] for k in item_keys([f"i{2 * ((n + 1) % 10) + way}" for n in range(10) for way in (0, 1)])]
        other = [
            at[int(k)] for k in item_keys([f"i{2 * ((n + 1) % 10) + 1 - way}" for n in range(10) for way in (0, 1)])
        ]
        lines = np.arange(20)
        return float((scores[lines, own] - scores[lines, other]).mean() / scores.std())

    assert gap([*rows, *against]) > gap(rows) + 0.1


def test_trees_put_what_is_disliked_under_the_others(monkeypatch) -> None:
    """Of candidates that are alike in all else: without targets among them they rank by what was said against them."""
    monkeypatch.setattr(ranker_training, "SURE", -9.0)  # taken whatever its gain
    rng, cases = np.random.default_rng(2), 500
    near, long = rng.random((2, cases, 10)).astype(np.float32)
    hit = near == near.max(1, keepdims=True)
    disliked = (long > 0.5) & ~hit
    signals = np.zeros((cases * 10, len(SIGNALS)), np.float32)
    signals[:, list(SIGNALS).index("trend")], signals[:, list(SIGNALS).index("long")] = near.ravel(), long.ravel()
    every, known = np.arange(0, cases * 10 + 1, 10), np.ones(cases, np.float32)
    table = CaseTable(
        signals, hit.ravel(), every, known, known, np.ones(cases * 10, np.int64), np.arange(cases), cases,
    )  # fmt: skip

    lightgbm = library()

    def told(table: CaseTable) -> float:
        text, _ = ranker_training.train_ranker(table, blend.START, 7)
        scores = lightgbm.Booster(model_str=text).predict(table.features(blend.blended(table, blend.START)))
        rest = ~hit.ravel()
        return float(scores[rest & (long.ravel() <= 0.5)].mean() - scores[rest & (long.ravel() > 0.5)].mean())

    assert told(replace(table, disliked=disliked.ravel())) > told(table) + 0.05


def test_candidates_that_the_user_dislikes_are_marked(lesson) -> None:
    """In the table of cases; without dislikes there is no such column."""
    held = lesson.held.sample(40, 7)
    offline = Offline(lesson.build.store, lesson.version.version, held.train, Serving(), ShardTuning())
    plain = gather(offline, held)
    assert plain.disliked is None
    every = np.arange(len(held.train.item_ids))
    own = np.tile(every, held.cases)
    against = Dislikes(np.arange(held.cases + 1) * len(every), own, np.full(len(own), 1e9))
    table = gather(offline, replace(held, disliked=against))
    assert table.disliked is not None
    assert table.disliked.all()
    few = table.best(blend.blended(table, blend.START), 5)
    assert len(few.disliked) == len(few.hit)
