"""Simulated experiments, fewer than `python -m load_tests.experiments` runs: the bounds leave room for chance."""

from __future__ import annotations

import pytest

from load_tests.experiments.canary import WORSE, canaries
from load_tests.experiments.coverage import coverage, false_positives
from load_tests.experiments.logged_policy import Truth, judged
from load_tests.experiments.sensitivity import needed


def test_intervals_contain_the_truth():
    """19 times of 20; one that takes answers for independent does not."""
    told = coverage(300, 400, 7)
    naive = told.pop("difference (answers taken for independent)")
    assert naive < 0.85
    assert all(0.91 <= share <= 0.985 for share in told.values()), told


def test_looking_daily_finds_what_is_not_there_but_for_the_test_that_allows_it():
    told = false_positives(120, 500, 14, 7)
    assert told["always-valid test, a look every day"] <= 0.05
    assert told["usual test, a look every day"] > 0.1


def test_interleaving_needs_far_fewer_people():
    """20 times fewer at least, and it finds the better ranker with so many."""
    told = needed(12, 7)
    assert told.times_fewer >= 20
    assert told.interleaved_found >= 0.5
    assert told.wrong == 0


@pytest.mark.parametrize("rows", [200, 3000])
def test_off_policy_estimates_are_right_or_refused(rows):
    truth = Truth.make(3, 1.0)
    told = judged(truth, 200, rows, 7)
    if rows == 200:
        assert told.refused == 1.0
    else:
        assert told.refused < 0.2
        assert all(share >= 0.9 for share in told.covered.values()), told


def test_canaries_that_are_worse_are_rolled_back():
    """Within the users of the power calculation; equal ones nearly never."""
    assert canaries(12, -WORSE, 7).rolled_back >= 0.75
    assert canaries(12, 0.0, 7).rolled_back <= 0.25
