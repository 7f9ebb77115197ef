"""Ratios of sums over users, such as clicks for each item shown, and their differences between two variants.

The user is what was drawn at random, so the user is the unit of the variance: answers of one user resemble each other,
and an interval that takes answers for independent is too narrow. The delta method is that of Deng, Knoblich and Lu,
"Applying the Delta Method in Metric Analytics", KDD 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.statistics.intervals import LEVEL, Doubles, Estimate, normal, unknown

RESAMPLES = 2000
"""Of a bootstrap: its bounds then vary by about a fiftieth of the interval."""


@dataclass(frozen=True, slots=True)
class Users:
    """One variant's users. A mean per user is a ratio whose denominators are 1."""

    numerators: Doubles
    """(n,) float64, such as clicks of each user."""
    denominators: Doubles
    """(n,) float64, such as items shown to each user."""
    before: Doubles | None = None
    """(n,) float64, the same ratio of each user before the experiment, or another number that the variant cannot
    change; None: not known."""

    def __len__(self) -> int:
        return len(self.numerators)

    @property
    def ratio(self) -> float:
        """NaN where the denominators sum to 0."""
        total = float(self.denominators.sum())
        return float(self.numerators.sum()) / total if total else float("nan")

    def linearised(self) -> Doubles:
        """Return (n,) float64 whose mean is the ratio, and the error of whose mean is the ratio's, to first order."""
        mean = float(self.denominators.mean())
        return self.ratio + (self.numerators - self.ratio * self.denominators) / mean


def error(values: Doubles) -> float:
    """Return the standard error of the mean of (n,) values; infinite for fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")


def ratio(users: Users, level: float = LEVEL) -> Estimate:
    """Return the ratio of one variant, by the delta method."""
    return normal(users.ratio, error(users.linearised()), level)


def difference(treated: Users, control: Users, level: float = LEVEL) -> Estimate:
    """Return the treated ratio minus the control's, by the delta method."""
    errors = error(treated.linearised()), error(control.linearised())
    return normal(treated.ratio - control.ratio, float(np.hypot(*errors)), level)


def pooled(estimates: Sequence[Estimate], level: float = LEVEL) -> Estimate:
    """Return one estimate of several independent ones of the same number, weighted by the inverse of their variance."""
    usable = [(one.value, one.error) for one in estimates if one.error > 0 and np.isfinite(one.error)]
    if not usable:
        return unknown(level)
    values, errors = np.array(usable).T
    weights = errors**-2
    return normal(float(weights @ values / weights.sum()), float(weights.sum() ** -0.5), level)


def lift(treated: Users, control: Users, level: float = LEVEL) -> Estimate:
    """Return the relative difference: 0.01 for 1 % more. By the delta method once more; NaN where the control has 0."""
    if not control.ratio:
        return unknown(level)
    quotient = treated.ratio / control.ratio
    errors = error(treated.linearised()) / control.ratio, quotient * error(control.linearised()) / control.ratio
    return normal(quotient - 1.0, float(np.hypot(*errors)), level)


def bootstrapped(treated: Users, control: Users, seed: int, level: float = LEVEL) -> Estimate:
    """Return the difference with an interval by the percentiles of resampled users, for few users or a skewed value."""
    from scipy.stats import bootstrap  # noqa: PLC0415 - half a second, which composers would wait for

    rng = np.random.default_rng(seed)
    draws = []
    for users in (treated, control):
        resampled = bootstrap(
            (users.numerators, users.denominators),
            lambda n, d, axis: n.sum(axis=axis) / d.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, 2_000_000 // max(len(users), 1)),
            method="percentile",
            rng=rng,
        )
        draws.append(resampled.bootstrap_distribution)
    differences = draws[0] - draws[1]
    low, high = np.quantile(differences, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(treated.ratio - control.ratio, float(differences.std(ddof=1)), float(low), float(high), level)
