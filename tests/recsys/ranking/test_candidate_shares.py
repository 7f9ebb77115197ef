"""Of several shards each is asked for fewer candidates, and the best of all come all the same."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.platform import RoutingSpec
from recsys.ranking.candidate_shares import asked_of_each
from recsys.routing import Router


def test_one_shard_is_asked_for_all():
    assert [asked_of_each(k, 1) for k in (1, 10, 50, 1000)] == [1, 10, 50, 1000]


@pytest.mark.parametrize("shards", [2, 8, 16, 100])
@pytest.mark.parametrize("k", [1, 10, 50, 300])
def test_in_99_of_100_answers_none_of_the_best_is_held_back(k, shards):
    """Items thrown into shards at random, many times; one candidate less a shard would not do."""
    each = asked_of_each(k, shards)
    assert 1 <= each <= k
    rng = np.random.default_rng(0)
    largest = np.array([np.bincount(rng.integers(0, shards, k)).max() for _ in range(4000)])
    assert (largest > each).mean() <= 0.013
    if each > 1:
        assert (largest > each - 1).mean() > 0.004


def test_more_shards_are_asked_for_fewer_each():
    asked = [asked_of_each(50, shards) for shards in (1, 2, 4, 8, 16, 64)]
    assert asked == sorted(asked, reverse=True)
    assert asked[3] < 20


def test_items_that_lie_by_an_attribute_are_not_spread_by_chance():
    assert Router(RoutingSpec(), 8).spread == 8
    assert Router(RoutingSpec(by="attribute", attribute="language"), 8).spread == 1
