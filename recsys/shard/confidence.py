"""Bounds of a mean of shares, each of one search: how sure a measured recall is.

Korn and Graubard (1998, "Confidence intervals for proportions with small expected number of positive counts estimated
from survey data"): the interval of Clopper and Pearson, for as many independent trials as the searches are worth. The
ten neighbours of one search are found or missed together, so they are fewer trials than neighbours; how many fewer
follows from how much the searches differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

_NEIGHBOURS = 10
"""Neighbours that a search's share is of: a search is worth no more trials."""


def lower_bound(shares: Sequence[float], confidence: float) -> float:
    """The true mean is not below this, with so much confidence (one-sided); 0.0 of no shares.

    `shares` are within 0 to 1, each of one search, and count alike.
    """
    if shares and shares.count(shares[0]) == len(shares):
        # Searches that are all alike do not say how much others differ: one more misses one neighbour more.
        shares = [*shares, max(shares[0] - 1.0 / _NEIGHBOURS, 0.0)]
    hits, trials = _trials(shares)
    return 0.0 if hits <= 0.0 else float(betaincinv(hits, trials - hits + 1.0, 1.0 - confidence))


def upper_bound(shares: Sequence[float], confidence: float) -> float:
    """The true mean is not above this; 1.0 of no shares."""
    hits, trials = _trials(shares)
    return 1.0 if hits >= trials else float(betaincinv(hits + 1.0, trials - hits, confidence))


def _trials(shares: Sequence[float]) -> tuple[float, float]:
    """Successes, and the independent trials that the shares are worth."""
    n = len(shares)
    if not n:
        return 0.0, 0.0
    values = np.fromiter(shares, np.float64, n)
    mean = float(np.add.reduce(values)) / n
    values -= mean
    values *= values
    variance = float(np.add.reduce(values)) / n * n / max(n - 1, 1)
    worth = mean * (1.0 - mean) / variance * n if variance > 0.0 else float(n)
    trials = min(max(worth, 1.0), float(_NEIGHBOURS * n))
    return mean * trials, trials
