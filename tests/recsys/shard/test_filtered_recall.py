"""Recall under filters is what a count by hand says it is, by the shape of the filter."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from recsys.datatypes import Condition, Filter
from recsys.shard.filtered_recall import FilteredRecall
from recsys.shard.probes import nearest_query
from recsys.shard.shard import Shard
from tests.support.small_shards import Walks, make_shard

pytestmark = pytest.mark.usefixtures("seeded")

EVEN = Filter(must=(Condition("parity", "any", ("even",)),))
RARE = Filter(must=(Condition("hundreds", "any", ("7",)),))


def measured(shard: Shard, given: Filter | None, queries: int = 30) -> FilteredRecall:
    recall = FilteredRecall()
    for row in shard.items.live_rows()[:queries].tolist():
        vectors = shard.items.vectors(np.array([row, row]))
        recall.offer(replace(nearest_query("v", vectors, 5), filters=(None, given)))
        recall.measure(shard)
    return recall


def test_searches_count_by_the_shape_of_their_filter():
    """Matches that are scored are all found; searches without a filter are no sample."""
    shard = make_shard(4000)
    assert measured(shard, EVEN).ratios == {"wide": 1.0}
    assert measured(shard, RARE).ratios == {"middle": 1.0}
    assert measured(shard, None).ratios == {}


def test_what_walks_under_a_filter_miss_is_missing_from_the_ratio():
    """An index that gives up on every second row loses half of the matches that a walk should find."""
    shard = make_shard(3000, "flat", exact_below=0)
    shard.planner = Walks()
    right = shard.index.search

    def poor(queries, k):
        rows, scores = right(queries, 2 * k)
        return rows[:, ::2], scores[:, ::2]

    shard.index.search = poor
    assert measured(shard, EVEN).ratios["wide"] == pytest.approx(0.5, abs=0.15)


def test_nothing_is_measured_twice():
    shard, recall = make_shard(200), FilteredRecall()
    vectors = shard.items.vectors(np.array([1]))
    assert recall.measure(shard) == 0.0
    recall.offer(replace(nearest_query("v", vectors, 5), filters=(EVEN,)))
    assert recall.measure(shard) > 0.0
    assert recall.measure(shard) == 0.0
