"""Bounds of a measured recall hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.shard.confidence import lower_bound, upper_bound

shares = st.lists(st.integers(0, 10).map(lambda found: found / 10), min_size=1, max_size=300)


@given(shares, st.floats(0.5, 0.999))
def test_the_mean_lies_between_the_bounds(values, confidence):
    assert 0.0 <= lower_bound(values, confidence) <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= upper_bound(values, confidence) <= 1.0


@given(shares, st.floats(0.5, 0.99))
def test_more_confidence_gives_wider_bounds(values, confidence):
    assert lower_bound(values, confidence + 0.009) <= lower_bound(values, confidence) + 1e-12
    assert upper_bound(values, confidence + 0.009) >= upper_bound(values, confidence) - 1e-12


def test_of_nothing_nothing_is_known():
    assert (lower_bound([], 0.95), upper_bound([], 0.95)) == (0.0, 1.0)


def test_searches_that_are_all_alike_do_not_prove_that_others_are():
    """That all found everything says less than that one of many more missed one neighbour, and more than that many
    did."""
    alike, fewer = lower_bound([1.0] * 50, 0.95), lower_bound([1.0] * 40 + [0.9] * 10, 0.95)
    assert lower_bound([1.0] * 200 + [0.9], 0.95) > alike > fewer
    assert lower_bound([1.0] * 50, 0.95) < 0.995
    assert lower_bound([1.0] * 5, 0.95) < 0.95
    assert upper_bound([0.0] * 50, 0.95) == pytest.approx(1 - 0.05 ** (1 / 50))


@pytest.mark.parametrize("alike", [2.0, 20.0, 1000.0])
@pytest.mark.parametrize("recall", [0.8, 0.95, 0.98])
@pytest.mark.parametrize("searches", [96, 400])
def test_the_lower_bound_is_under_the_true_recall_as_often_as_it_says(alike, recall, searches):
    """Searches whose neighbours are missed together (a beta distribution of each search's own recall) and such whose
    are not. Some slack, for the method is approximate: of few searches that differ much the bound is a little high."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        own = rng.beta(recall * alike, (1 - recall) * alike, searches)
        covered += lower_bound((rng.binomial(10, own) / 10).tolist(), 0.95) <= recall
    assert covered / 400 >= (0.91 if searches > 100 else 0.89)
