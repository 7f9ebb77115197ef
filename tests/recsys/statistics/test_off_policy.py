"""Estimates of another policy on tables that can be checked by hand, and the reasons for which there is none."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.statistics.intervals import Estimate, Refusal
from recsys.statistics.off_policy import doubly_robust, effective, ips, snips, weights_of


def logged(rows: int, target: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two items, shown equally often; the second is clicked on by half, the first by a tenth. The other policy shows
    the second with the probability `target`.
    """
    item = np.arange(rows) % 2
    reward = np.where(item == 1, np.arange(rows) // 2 % 2 == 0, np.arange(rows) // 2 % 10 == 0).astype(float)
    chance = np.where(item == 1, target, 1 - target)
    return item, reward, weights_of(chance, np.full(rows, 0.5))


def test_the_other_policys_value_is_found():
    """0.8 x 0.5 + 0.2 x 0.1 = 0.42, where 0.3 was logged."""
    item, reward, weights = logged(2000)
    expected = np.where(item == 1, 0.6, 0.0)  # a model that is wrong
    for told in (
        ips(reward, weights),
        snips(reward, weights),
        doubly_robust(reward, weights, expected, np.full(2000, 0.8 * 0.6)),
    ):
        assert isinstance(told, Estimate)
        assert told.value == pytest.approx(0.42)
        assert 0 < told.error < 0.03


def test_effective_rows():
    assert effective(np.full(50, 3.0)) == pytest.approx(50)
    assert effective(np.array([1.0, 0, 0])) == pytest.approx(1)
    assert effective(np.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ("reward", "weights", "reason"),
    [
        (np.ones(100), np.ones(100), "worth 100 rows"),
        (np.ones(2000), np.concatenate([[500.0], np.ones(1999) * 0.75]), "worth"),
        (np.zeros(2000), np.ones(2000), "0 events"),
        (np.ones(2000), np.linspace(1.0, 2.0, 2000), "the mean weight is 1.5"),
    ],
)
def test_a_sample_that_cannot_tell_is_refused(reward, weights, reason):
    """Too few rows, one that decides alone, no reward, and propensities that cannot be true."""
    told = snips(reward, weights)
    assert isinstance(told, Refusal)
    assert reason in told.reason


def test_what_was_never_shown_has_no_weight():
    with pytest.raises(ValueError, match="logged"):
        weights_of(np.ones(2), np.array([0.5, 0.0]))
