"""Whether a metric can be trusted: halves of the same variant, which cannot differ, must seldom seem to."""

from __future__ import annotations

import numpy as np

from recsys.statistics.intervals import two_sided_p
from recsys.statistics.ratios import Users, difference

_LEAST = 20
"""Users of each half below which nothing is said."""


def false_positives(users: Users, splits: int, seed: int, level: float = 0.95) -> float | None:
    """Return the share of random halvings that differ at this level: 1 - level where intervals are what they say.

    None where there are too few users. Of 200 splits 0.09 is still chance at a level of 0.95: the splits share users.
    """
    if len(users) < 2 * _LEAST:
        return None
    rng = np.random.default_rng(seed)
    different = 0
    for _ in range(splits):
        first = rng.random(len(users)) < 0.5
        one, other = (Users(users.numerators[side], users.denominators[side]) for side in (first, ~first))
        apart = difference(one, other)
        different += two_sided_p(apart.value, apart.error) < 1 - level
    return different / splits
