"""Intervals and tests that stay valid however often they are looked at, and whenever the experiment is stopped.

A normal mixture of likelihood ratios: Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm",
1970; as the mSPRT of Johari, Koomen, Pekelis and Walsh, "Peeking at A/B Tests", KDD 2017; as confidence sequences by
Waudby-Smith et al., "Time-Uniform Central Limit Theory and Asymptotic Confidence Sequences", 2021. It is asymptotic:
the first look needs some hundred users. The price is an interval that is up to twice as wide as that of one look.
"""

from __future__ import annotations

import math

from recsys.statistics.intervals import LEVEL, Estimate

LEAST_USERS = 100
"""Users of each variant before the first look. Below it the normal approximation does not hold."""


def mixture(effect: float) -> float:
    """Return the mixture's standard deviation `tau` for an effect that is worth finding, in the metric's unit.

    Any other is valid as well, and finds effects of that size later.
    """
    return max(abs(effect), 1e-12)


def half_width(error: float, tau: float, level: float = LEVEL) -> float:
    """Return the half width of the interval at a look with this standard error."""
    if not math.isfinite(error):
        return math.inf
    if not error:
        return 0.0
    variance, prior = error * error, tau * tau
    total = variance + prior
    return math.sqrt(variance * total / prior * (math.log(total / variance) - 2 * math.log(1 - level)))


def always_valid(estimate: Estimate, tau: float) -> Estimate:
    """Return the estimate with the interval that may be looked at any time."""
    half = half_width(estimate.error, tau, estimate.level)
    return Estimate(estimate.value, estimate.error, estimate.value - half, estimate.value + half, estimate.level)


def p_value(estimate: Estimate, tau: float) -> float:
    """Return the always-valid p-value of one look, that the truth is 0. Of several looks the smallest counts."""
    if not math.isfinite(estimate.error) or not estimate.error:
        return 1.0
    variance, prior = estimate.error**2, tau * tau
    total = variance + prior
    log_ratio = 0.5 * math.log(variance / total) + estimate.value**2 * prior / (2 * variance * total)
    return min(1.0, math.exp(-log_ratio)) if log_ratio < 700 else 0.0


def worse_by_now(estimate: Estimate, tau: float, level: float = LEVEL) -> bool:
    """Whether a one-sided look at any time says that the difference is under 0. `level` 0.95: wrong once in 20."""
    return estimate.value + half_width(estimate.error, tau, 1 - 2 * (1 - level)) < 0
