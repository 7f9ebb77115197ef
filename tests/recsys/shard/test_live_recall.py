"""Live recall is what a count by hand says it is."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.shard.live_recall import K, LiveRecall
from recsys.shard.recall import nearest_query
from recsys.shard.shard import Shard
from tests.support.small_shards import make_shard
from tests.support.world import unit_rows


class Forgetful:
    """An index that never finds the `lost` best of the live rows that the exact one finds."""

    def __init__(self, shard: Shard, lost: int) -> None:
        self._index, self._lost, self._items = shard.index, lost, shard.items

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries, k):
        rows, scores = self._index.search(queries, k + self._lost + 64)  # as many dead rows may lie in it
        there = np.stack([np.flatnonzero(alive)[self._lost :][:k] for alive in self._items.alive.view[rows]])
        return np.take_along_axis(rows, there, 1), np.take_along_axis(scores, there, 1)


def measured(shard: Shard, queries: int) -> LiveRecall:
    recall = LiveRecall()
    vectors = unit_rows(np.random.default_rng(5).standard_normal((queries, 16))).astype(np.float32)
    for vector in vectors:
        recall.offer(nearest_query("v", vector[None], 5))
        assert recall.measure(shard) > 0.0
    return recall


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_what_the_search_misses_is_missing_from_the_ratio(lost):
    """The K best less the lost ones, for the search returns K others in their place."""
    shard = make_shard(3000, "flat")
    shard.index = Forgetful(shard, lost)
    # Some vectors stand in the shard twice: then two lost items are one lost vector.
    assert measured(shard, 20).ratio == pytest.approx((K - lost) / K, abs=0.06)


def test_the_graph_as_it_is_served_is_measured():
    """A walk that keeps few candidates finds less than one that keeps many."""
    poor, good = (measured(make_shard(4000, ef_search=ef), 60).ratio for ef in (10, 400))
    assert poor < good
    assert good > 0.98


def test_a_batch_without_walks_is_no_sample_and_nothing_is_measured_twice():
    recall = LiveRecall()
    shard = make_shard(100)
    recall.offer(nearest_query("v", np.zeros((0, 16), np.float32), 5))
    assert recall.measure(shard) == 0.0
    recall.offer(nearest_query("v", unit_rows(np.ones((1, 16))).astype(np.float32), 5))
    assert recall.measure(shard) > 0.0
    assert recall.measure(shard) == 0.0


def test_an_empty_shard_has_no_recall():
    recall = LiveRecall()
    recall.offer(nearest_query("v", unit_rows(np.ones((1, 16))).astype(np.float32), 5))
    recall.measure(make_shard(0))
    assert recall.ratio is None
