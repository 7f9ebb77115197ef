"""How sure a measured recall is."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.tuning.interval import Interval, least


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says():
    """Of queries whose ten hits go together, in 1,000 repetitions; with independent hits counted it would not."""
    rng = np.random.default_rng(1)
    inside, under = 0, 0
    for _ in range(1000):
        chance = np.where(rng.random(200) < 0.1, 0.6, 0.99)
        shares = (rng.binomial(10, chance) / 10).astype(np.float32)
        true = 0.1 * 0.6 + 0.9 * 0.99
        interval = Interval.of(shares)
        inside += interval.low <= true <= interval.high
        under += least(shares) <= true
    assert 0.92 <= inside / 1000 <= 0.98
    assert 0.9 <= under / 1000 <= 0.98


def test_queries_that_all_find_everything_leave_a_doubt():
    """100 of them say that recall is over 0.96, and not that it is 1."""
    interval = Interval.of(np.ones(100, np.float32))
    assert interval.mean == pytest.approx(1.0)
    assert interval.high == pytest.approx(1.0)
    assert 0.96 < interval.low < 0.97


def test_no_queries_say_nothing():
    assert Interval.of(np.zeros(0, np.float32)) == Interval(0.0, 0.0, 1.0)
    assert least(np.zeros(0, np.float32)) == 0.0


def test_a_recall_is_shown_with_its_interval():
    assert str(Interval(0.9512, 0.941, 0.9606)) == "0.951 (0.941 to 0.961)"
