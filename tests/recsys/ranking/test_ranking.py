"""Signals and their blend, against a plain reading of the formulas."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.ranking.selection import blend
from recsys.ranking.signals import SIGNALS, Moment, measure
from recsys.shard.candidates import BECAUSE, QUERY, TASTE
from recsys.shard.trail_measures import LIKENESS
from tests.support.plain_candidates import candidates

MOMENT = Moment(now=1_000_000.0, trend_half_life_s=100.0, recency_half_life_s=1000.0)


def measured(name: str, **given_columns) -> np.ndarray:
    n = len(next(iter(given_columns.values())))
    return measure(candidates([n], **given_columns), MOMENT)[:, list(SIGNALS).index(name)]


def test_what_is_not_known_counts_zero():
    """No vectors, no likes, no trend, no time: all signals are 0, without a warning."""
    columns = np.array([[0.0, -np.inf, np.nan]])
    assert measure(candidates([1], columns=columns, top_count=0.0), MOMENT).tolist() == [[0.0] * len(SIGNALS)]
    assert measure(candidates([0]), MOMENT).shape == (0, len(SIGNALS))


def test_likenesses_are_the_cosines():
    """`because` is the nearest of the items liked last; those that are missing do not count."""
    likeness = np.full((2, LIKENESS), np.nan, np.float32)
    likeness[:, QUERY], likeness[:, TASTE] = [0.25, -0.5], [0.75, 1.0000002]
    likeness[:, BECAUSE : BECAUSE + 2] = [[-0.25, -0.75], [0.0, 0.5]]
    assert measured("query", likeness=likeness).tolist() == [0.25, -0.5]
    assert measured("taste", likeness=likeness).tolist() == [0.75, 1.0]
    assert measured("because", likeness=likeness).tolist() == [-0.25, 0.5]


def test_popularity_trend_and_recency():
    """1 for the most liked; half for ten likes now; half for an item one half-life old, 1 for one from the future."""
    likes = [0.0, 10.0, 3.0, 20.0]
    trends = [math.log2(10) + MOMENT.now / 100.0, math.log2(20) + MOMENT.now / 100.0 - 1.0, -math.inf, 1e9]
    created = [MOMENT.now, MOMENT.now - 1000.0, MOMENT.now + 5000.0, np.nan]
    columns = np.array([likes, trends, created]).T
    np.testing.assert_allclose(
        measured("popularity", columns=columns), [0, 1, math.log(4) / math.log(11), 1], atol=1e-6
    )
    np.testing.assert_allclose(measured("trend", columns=columns), [0.5, 0.5, 0, 1], atol=1e-6)
    np.testing.assert_allclose(measured("recency", columns=columns), [1, 0.5, 1, 0], atol=1e-6)


any_float = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(any_float, st.floats(0, 1e9), any_float, any_float), max_size=10), st.floats(0, 1e9))
def test_signals_lie_between_minus_one_and_one(rows, top_count):
    """Whatever stands in the columns."""
    n = len(rows)
    likeness = np.array([[r[0]] * LIKENESS for r in rows], np.float32).reshape(n, LIKENESS)
    columns = np.array([r[1:] for r in rows], float).reshape(n, 3)
    with np.errstate(all="ignore"):
        values = measure(candidates([n], likeness=likeness, columns=columns, top_count=top_count), MOMENT)
    assert (np.abs(values) <= 1).all()


def test_blend_uses_each_requests_own_weights():
    """Score = sum of weight times signal; a signal without weight counts nothing."""
    signals = np.zeros((3, len(SIGNALS)), np.float32)
    names = list(SIGNALS)
    signals[:, names.index("taste")] = [0.5, 1.0, 1.0]
    signals[:, names.index("trend")] = [1.0, 1.0, 0.25]
    scores = blend(signals, np.array([0, 0, 1]), [{"taste": 2.0, "trend": 1.0}, {"trend": -4.0}])
    assert scores.tolist() == [2.0, 3.0, -1.0]
