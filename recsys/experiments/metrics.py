"""The metrics of experiments: a sum over a user's answers divided by another one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recsys.config.experiments import Metric
from recsys.outcomes.by_user import Doubles, UserRows
from recsys.statistics.ratios import Users

PARTS: Mapping[Metric, tuple[str, str]] = {
    "click_through": ("clicks", "items"),
    "answer_click_through": ("answers_with_click", "answers"),
    "conversion": ("answers_with_conversion", "answers"),
    "value_per_answer": ("value", "answers"),
}
"""Numerator and denominator of each, by `outcomes/by_user.py`."""


def summed(rows: UserRows, name: str, variant: int, until: int | None = None) -> Doubles:
    """(user_count,) float64: a sum of each user in a variant; `until`: without the parts of time behind it."""
    chosen = rows.variants == variant
    if until is not None:
        chosen &= rows.periods <= until
    return np.bincount(rows.users[chosen], rows.sums[name][chosen], rows.user_count).astype(np.float64)


def before_of(rows: UserRows, earlier: UserRows, metric: Metric) -> dict[int, float]:
    """Number of a user of `rows` -> the metric in `earlier`, of those who were there.

    `earlier` is of one variant.
    """
    numerator, denominator = (summed(earlier, name, 0) for name in PARTS[metric])
    there = denominator > 0
    value_of = dict(zip(earlier.tokens[there].tolist(), (numerator[there] / denominator[there]).tolist(), strict=True))
    return {number: value_of[token] for number, token in enumerate(rows.tokens.tolist()) if token in value_of}


def users_of(
    rows: UserRows, metric: Metric, variant: int, before: Mapping[int, float] | None = None, until: int | None = None
) -> Users:
    """The users of a variant. `before`: number of a user -> the metric before the experiment; others have the mean."""
    numerator, denominator = (summed(rows, name, variant, until) for name in PARTS[metric])
    came = summed(rows, "answers", variant, until) > 0
    earlier = None
    if before:
        mean = float(np.mean(list(before.values())))
        earlier = np.array([before.get(user, mean) for user in np.flatnonzero(came).tolist()])
    return Users(numerator[came], denominator[came], earlier)
