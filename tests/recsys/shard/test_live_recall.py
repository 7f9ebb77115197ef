"""Live recall is what a count by hand says it is."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from recsys.shard import pace
from recsys.shard.live_recall import PAUSES, K, LiveRecall, Measured
from recsys.shard.probes import nearest_query
from recsys.shard.recall import Exact
from recsys.shard.shard import Shard
from tests.support.small_shards import make_shard, standing_shard
from tests.support.world import unit_rows

pytestmark = pytest.mark.usefixtures("seeded")


class Forgetful:
    """An index that never finds the `lost` best of the live rows that the exact one finds."""

    def __init__(self, shard: Shard, lost: int) -> None:
        self._index, self._lost, self._items = shard.index, lost, shard.items

    def __len__(self) -> int:
        return len(self._index)

    def __getattr__(self, name):
        return getattr(self._index, name)

    def search(self, queries, k):
        rows, scores = self._index.search(queries, k + self._lost + 64)  # as many dead rows may lie in it
        there = np.stack([np.flatnonzero(alive)[self._lost :][:k] for alive in self._items.alive.view[rows]])
        return np.take_along_axis(rows, there, 1), np.take_along_axis(scores, there, 1)


def measured(shard: Shard, queries: int) -> LiveRecall:
    recall = LiveRecall()
    vectors = unit_rows(np.random.default_rng(5).standard_normal((queries, 16))).astype(np.float32)
    for vector in vectors:
        recall.offer(nearest_query("v", vector[None], 5))
        assert recall.measure(shard).spent_s > 0.0
    return recall


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_what_the_search_misses_is_missing_from_the_ratio(lost):
    """The K best less the lost ones, for the search returns K others in their place."""
    shard = make_shard(2000, "flat")
    shard.index = Forgetful(shard, lost)
    # Some vectors stand in the shard twice: then two lost items are one lost vector.
    assert measured(shard, 20).ratio == pytest.approx((K - lost) / K, abs=0.06)


def test_the_graph_as_it_is_served_is_measured():
    """A walk that keeps few candidates finds less than one that keeps many."""
    poor, good = (measured(standing_shard(2500, ef_search=ef), 60).ratio for ef in (10, 400))
    assert poor < good
    assert good > 0.98


def test_a_batch_without_walks_is_no_sample_and_nothing_is_measured_twice():
    recall = LiveRecall()
    shard = make_shard(100)
    recall.offer(nearest_query("v", np.zeros((0, 16), np.float32), 5))
    assert recall.measure(shard) == Measured()
    recall.offer(nearest_query("v", unit_rows(np.ones((1, 16))).astype(np.float32), 5))
    assert len(recall.measure(shard).samples) == 1
    assert recall.measure(shard) == Measured()


def test_a_measurement_has_pauses(monkeypatch):
    """Longer than the work between them: searches have the processor to themselves meanwhile."""
    pauses: list[float] = []
    clock = itertools.count()
    monkeypatch.setattr(pace, "time", SimpleNamespace(sleep=pauses.append, monotonic=lambda: float(next(clock))))
    measured(make_shard(18_000, "flat"), 1)
    assert len(pauses) >= 2
    assert min(pauses) == PAUSES > 1


def test_an_empty_shard_has_no_recall():
    recall = LiveRecall()
    recall.offer(nearest_query("v", unit_rows(np.ones((1, 16))).astype(np.float32), 5))
    recall.measure(make_shard(0))
    assert recall.ratio is None


def test_each_search_is_kept_with_the_same_probability():
    """Whatever the batches that they come in: the first and the last hundred of 400, over many samples."""
    shard, first, last = make_shard(200, "flat"), 0, 0
    vectors = unit_rows(np.random.default_rng(2).standard_normal((400, 16))).astype(np.float32)
    floors = (0.1,) * 100 + (0.2,) * 200 + (0.3,) * 100
    for _ in range(60):
        recall, start = LiveRecall(), 0
        for size in (3, 1, 96, 200, 40, 30, 30):
            part = slice(start, start + size)
            recall.offer(structs.replace(nearest_query("v", vectors[part], 5), recall_floors=floors[part]))
            start += size
        kept = [sample.floor for sample in recall.measure(shard).samples]
        assert len(kept) == 32
        first, last = first + kept.count(0.1), last + kept.count(0.3)
    assert 380 < first < 580
    assert 380 < last < 580


def test_a_search_is_measured_with_as_many_candidates_as_it_asked_for():
    """A walk for 200 candidates finds more of the ten nearest than one for ten."""
    shard = standing_shard(4000, ef_search=10)
    vectors = unit_rows(np.random.default_rng(5).standard_normal((200, 16))).astype(np.float32)
    ratios = []
    for k in (10, 200):
        recall = LiveRecall()
        for vector in vectors:
            recall.offer(nearest_query("v", vector[None], k))
        recall.measure(shard)
        ratios.append(recall.ratio)
    assert ratios[0] < ratios[1] - 0.02


def test_a_measurement_says_at_which_ef_search_it_was_made():
    recall = LiveRecall()
    recall.offer(nearest_query("v", unit_rows(np.ones((1, 16))).astype(np.float32), 5))
    assert recall.measure(make_shard(100, ef_search=33)).effort == 33


def test_what_was_measured_while_many_items_changed_does_not_count(monkeypatch):
    shard = make_shard(1000)
    recall = LiveRecall()
    recall.offer(nearest_query("v", unit_rows(np.ones((1, 16))).astype(np.float32), 5))
    found = Exact.found

    def meanwhile(exact):
        shard.delete([f"i{i}" for i in range(500, 520)])
        return found(exact)

    monkeypatch.setattr(Exact, "found", meanwhile)
    measured = recall.measure(shard)
    assert (len(measured.samples), recall.ratio) == (0, None)
    assert measured.spent_s > 0.0
