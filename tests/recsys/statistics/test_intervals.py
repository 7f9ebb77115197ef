"""Intervals, adjustments and sequential tests on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.statistics.a_a import false_positives
from recsys.statistics.cuped import adjusted
from recsys.statistics.intervals import Estimate, normal, two_sided_p
from recsys.statistics.power import users_needed, users_needed_pairwise, users_needed_sequential
from recsys.statistics.ratios import Users, bootstrapped, difference, lift, pooled, ratio
from recsys.statistics.sample_ratio import ALARM, mismatch
from recsys.statistics.sequential import always_valid, half_width, mixture, p_value, worse_by_now


def users(seed: int, n: int, mean: float, before: bool = False) -> Users:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=n)
    numerators = mean + own + rng.normal(size=n)
    return Users(numerators, np.ones(n), own + 0.5 * rng.normal(size=n) if before else None)


def test_a_mean_per_user_is_the_textbooks_test():
    """With denominators of 1 the delta method is Welch's test but for its t distribution."""
    from scipy.stats import ttest_ind  # noqa: PLC0415 - takes a second

    a, b = users(1, 4000, 0.1), users(2, 3000, 0.0)
    told = difference(a, b)
    p = ttest_ind(a.numerators, b.numerators, equal_var=False).pvalue
    assert told.value == pytest.approx(a.numerators.mean() - b.numerators.mean())
    assert two_sided_p(told.value, told.error) == pytest.approx(p, rel=0.02)


def test_a_ratio_takes_users_for_the_unit():
    """Of two kinds of users with 1 and 9 items: all clicks over all items, and not the mean of the users' ratios."""
    told = ratio(Users(np.array([1.0, 0.0] * 50), np.array([1.0, 9.0] * 50)))
    assert told.value == pytest.approx(50 / 500)
    assert told.error > np.sqrt(0.1 * 0.9 / 500)


def test_a_bootstrap_tells_what_the_delta_method_tells():
    rng = np.random.default_rng(5)
    sides = [Users(rng.binomial(20, p, 2000).astype(float), np.full(2000, 20.0)) for p in (0.3, 0.28)]
    resampled, delta = bootstrapped(sides[0], sides[1], 1), difference(sides[0], sides[1])
    assert resampled.value == pytest.approx(delta.value)
    assert resampled.error == pytest.approx(delta.error, rel=0.1)
    assert (resampled.low, resampled.high) == pytest.approx((delta.low, delta.high), abs=0.2 * delta.error)


def test_a_lift_is_relative():
    a, b = Users(np.full(100, 3.0), np.full(100, 20.0)), Users(np.full(100, 2.0), np.full(100, 20.0))
    assert lift(a, b).value == pytest.approx(0.5)
    assert np.isnan(lift(a, Users(np.zeros(100), np.ones(100))).value)


def test_estimates_are_pooled_by_their_precision():
    told = pooled([normal(1.0, 1.0), normal(2.0, 0.5), Estimate(9.0, float("inf"), -1, 1)])
    assert told.value == pytest.approx((1 + 4 * 2) / 5)
    assert told.error == pytest.approx(5**-0.5)


def test_cuped_takes_out_what_users_brought():
    """The covariate correlates with the metric by 0.63, so two fifths of the variance go, and the difference stays."""
    a, b = users(3, 50_000, 0.05, before=True), users(4, 50_000, 0.0, before=True)
    told = adjusted(a, b)
    assert told.spared == pytest.approx(0.4, abs=0.02)
    assert told.difference.holds(0.05)
    assert adjusted(users(3, 100, 0.0), b).spared == 0.0


def test_a_sample_ratio_that_does_not_fit_is_told():
    assert mismatch([5000, 5050], [1, 1]) > 0.5
    assert mismatch([5000, 5350], [1, 1]) < ALARM
    assert mismatch([1000, 3000], [1, 3]) == pytest.approx(1.0)
    assert mismatch([0, 3], [1, 1]) == 1.0


def test_always_valid_intervals_are_wider_and_shrink():
    """Wider than for one look by a quarter to a factor of two around the effect that was planned for."""
    from scipy.stats import norm  # noqa: PLC0415

    tau = mixture(0.05)
    widths = [half_width(0.05 / factor, tau) / (norm.ppf(0.975) * 0.05 / factor) for factor in (1, 2, 3, 5)]
    assert all(1.2 < width < 2.1 for width in widths), widths
    assert half_width(float("inf"), tau) == float("inf")
    assert half_width(0.0, tau) == 0.0


def test_a_p_value_and_an_interval_say_the_same():
    """p is under 5 % just where the interval leaves 0 out."""
    tau = mixture(0.1)
    for value in np.linspace(-0.5, 0.5, 41):
        told = normal(float(value), 0.07)
        assert (p_value(told, tau) < 0.05) == always_valid(told, tau).excludes_zero
    assert p_value(normal(9.0, 0.001), tau) == 0.0


def test_worse_is_one_sided():
    assert worse_by_now(normal(-0.3, 0.05), 0.1)
    assert not worse_by_now(normal(0.3, 0.05), 0.1)
    assert not worse_by_now(normal(-0.03, 0.05), 0.1)


def test_users_needed_are_those_of_the_textbook():
    """16 s^2 / d^2 in each of two equal variants, to a hundredth; four times as many for half the effect."""
    both = users_needed(1.0, 0.1)
    assert both / 2 == pytest.approx(15.7 / 0.01, rel=0.01)
    assert users_needed(1.0, 0.05) == pytest.approx(4 * both, rel=0.01)
    assert users_needed_pairwise(1.0, 0.1) == pytest.approx(both / 4, rel=0.01)
    assert both < users_needed_sequential(1.0, 0.1, 0.1) < 2.5 * both
    with pytest.raises(ValueError, match="effect"):
        users_needed(1.0, 0.0)


def test_halves_of_the_control_seldom_differ():
    """About one in twenty; not so where a few users have nearly everything."""
    assert false_positives(users(6, 2000, 0.0), 400, 1) == pytest.approx(0.05, abs=0.04)
    assert false_positives(users(6, 10, 0.0), 400, 1) is None
