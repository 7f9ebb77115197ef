"""What clicks on interleaved slates say: whose items people prefer. `team_draft.py` makes the slates.

Every user compares both rankers, so what users bring with them cancels: it takes far fewer users than a split. It says
which ranker is preferred and not by how much a metric would change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.statistics.intervals import LEVEL, Doubles, Estimate, normal, unknown
from recsys.statistics.ratios import Users, error
from recsys.statistics.team_draft import A, B


def preference(clicks_a: Doubles, clicks_b: Doubles, level: float = LEVEL) -> Estimate:
    """Return how far B's share of the credited clicks is from one half, -0.5 to 0.5; above 0: B is preferred.

    `clicks_a` and `clicks_b`: (n,) float64, clicks of each user on items of the teams. Users are the unit. NaN without
    any click.
    """
    both = clicks_a + clicks_b
    if not both.sum():
        return unknown(level)
    users = Users(clicks_b, both)
    return normal(users.ratio - 0.5, error(users.linearised()), level)


def differences(clicks_a: Doubles, clicks_b: Doubles) -> Doubles:
    """Return (n,) float64 whose mean is the preference: what `power.users_needed_pairwise` takes the deviation of."""
    return Users(clicks_b, clicks_a + clicks_b).linearised() - 0.5


def credited(teams: Sequence[int], clicked: Sequence[bool]) -> tuple[int, int]:
    """Return the clicks of one slate on the items of A and of B."""
    hits = np.asarray(teams)[np.asarray(clicked, bool)]
    return int((hits == A).sum()), int((hits == B).sum())
