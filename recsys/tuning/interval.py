"""How sure a recall is that was measured with some queries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recsys.datatypes import Floats

_Z = 1.96
"""Of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean recall with its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, shares: Floats) -> Interval:
        """Of (m,) recalls, one a query: Wilson's interval (1927) for as many trials as their spread says.

        The ten hits of a query go together, so a query is worth less than ten trials; where all queries have the same
        recall it counts as one. No queries give 0 to 1.
        """
        m = len(shares)
        if not m:
            return cls(0.0, 0.0, 1.0)
        p, spread = float(shares.mean()), float(shares.var())
        trials = m * p * (1 - p) / spread if spread > 0 else m
        centre = (p + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
        half = _Z / (1 + _Z**2 / trials) * math.sqrt(p * (1 - p) / trials + _Z**2 / (4 * trials**2))
        return cls(p, max(0.0, centre - half), min(1.0, centre + half))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def least(shares: Floats) -> float:
    """What the mean recall is at least, with a probability of 95 %, of (m,) recalls, by the spread among them."""
    if len(shares) < 2:
        return float(shares.mean()) if len(shares) else 0.0
    return float(shares.mean() - _Z_ONE_SIDED * shares.std(ddof=1) / np.sqrt(len(shares)))


_Z_ONE_SIDED = 1.645
