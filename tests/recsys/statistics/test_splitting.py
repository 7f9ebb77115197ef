"""Who is in an experiment, and in which variant."""

from __future__ import annotations

import numpy as np

from recsys.statistics.splitting import Split, point

USERS = [f"user-{n}" for n in range(20_000)]


def test_points_are_the_same_everywhere():
    """Fixed numbers: another release must not move users to other variants."""
    assert [round(point("blue", user), 6) for user in ("anna", "ben")] == [0.79183, 0.370244]


def test_points_are_uniform_and_salts_independent():
    """Chi-squared over 20 parts, and over the crossing of two salts."""
    first, second = (np.array([point(salt, user) for user in USERS]) for salt in ("a", "b"))
    counts = np.histogram(first, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # 1 in 1,000 is over 43.8
    crossed = np.histogram2d(first, second, (4, 4), ((0, 1), (0, 1)))[0]
    assert ((crossed - 1250) ** 2 / 1250).sum() < 38


def test_a_ramp_takes_users_in_and_moves_none():
    """At 1, 5, 20, 50 and 100 %: who is in stays, in the same variant."""
    before: dict[str, int] = {}
    for share in (0.01, 0.05, 0.2, 0.5, 1.0):
        split = Split("layer", "salt", [1, 1, 2], share)
        now = {user: place for user in USERS if (place := split.variant(user)) is not None}
        assert abs(len(now) / len(USERS) - share) < 0.01
        assert before.items() <= now.items()
        before = now
    shares = np.bincount(list(before.values())) / len(USERS)
    assert np.abs(shares - [0.25, 0.25, 0.5]).max() < 0.015


def test_experiments_of_a_layer_have_no_user_in_common():
    first = Split("layer", "one", [1, 1], 0.4)
    second = Split("layer", "two", [1, 1], 0.6, 0.4)
    inside = [(first.variant(user) is not None, second.variant(user) is not None) for user in USERS]
    assert all(one != other for one, other in inside)


def test_experiments_of_two_layers_cross():
    """Each variant of one has as much of either variant of the other."""
    first, second = Split("a", "one", [1, 1]), Split("b", "two", [1, 1])
    both = np.array([(first.variant(user), second.variant(user)) for user in USERS])
    counts = np.histogram2d(both[:, 0], both[:, 1], (2, 2))[0]
    assert np.abs(counts / len(USERS) - 0.25).max() < 0.015
