"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np

from recsys.data.interactions import Interactions
from recsys.evaluation.metrics import better, judge, over_lists, per_case
from recsys.evaluation.splits import Holdout

ITEMS = ["a", "b", "c", "d"]


def held(targets: list[list[int]]) -> Holdout:
    users = [f"u{n}" for n in range(len(targets))]
    train = Interactions.of(["x", "x", "y"], ["a", "b", "a"], [1, 2, 3], catalogue=ITEMS)
    histories = Interactions(users, ITEMS, np.zeros(len(users) + 1, np.int64), np.zeros(0, np.int64),
                             np.zeros(0, np.float32), np.zeros(0))  # fmt: skip
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in targets])])
    return Holdout(train, histories, np.concatenate(targets).astype(np.int64), offsets, np.zeros(len(users)))


def padded(*lists: list[int]) -> np.ndarray:
    return np.array([[*own, *[-1] * (100 - len(own))] for own in lists])


def test_accuracy_by_hand():
    """Target at rank 2; two targets at ranks 1 and 3; a miss."""
    found = per_case(padded([3, 1, 0], [2, 0, 1], [0]), held([[1], [2, 1], [3]]))
    ideal = 1 + 1 / math.log2(3)
    np.testing.assert_allclose(found["ndcg@10"], [1 / math.log2(3), (1 + 0.5) / ideal, 0])
    assert found["hr@10"].tolist() == [1, 1, 0]
    assert found["recall@20"].tolist() == [1, 1, 0]
    assert found["mrr"].tolist() == [0.5, 1, 0]


def test_ranks_past_ten_count_for_hr_100_alone():
    wide = held([[3]])
    found = per_case(padded([0] * 15 + [3]), wide)
    assert (found["ndcg@10"][0], found["hr@10"][0], found["hr@100"][0], found["mrr"][0]) == (0, 0, 1, 1 / 16)


def test_what_lists_are_like_by_hand():
    """Two of four items shown; twins at distance 0 and orthogonal ones at 1; a is known to both users, c to none."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    found = over_lists(padded([0, 2], [0, 2]), held([[1], [1]]), vectors)
    assert found["coverage"] == 0.5
    assert found["intra_list_distance"] == 1.0
    np.testing.assert_allclose(found["novelty"], (-math.log2(3 / 3) - math.log2(1 / 3)) / 2)
    assert over_lists(padded([0, 1]), held([[1]]), vectors)["intra_list_distance"] == 0.0


def test_intervals_hold_the_mean_and_narrow_with_cases():
    rng = np.random.default_rng(0)
    widths = []
    for n in (50, 5000):
        lists = padded(*[[int(i)] for i in rng.integers(0, 4, n)])
        found = judge(lists, held([[0]] * n), np.eye(4, dtype=np.float32))
        low, high = found["hr@10_ci"]
        assert low <= found["hr@10"] <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_a_paired_difference_is_surer_than_two_means():
    """One list that is better wherever they differ is better with certainty, though each mean is unsure."""
    lists = padded(*[[n % 4] for n in range(200)])
    worse = lists.copy()
    worse[:40, 0] = 3
    gap = better(lists, worse, held([[n % 4 if n < 100 else 3] for n in range(200)]), "hr@10")
    assert gap["low"] > 0
