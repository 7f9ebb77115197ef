"""How many users an experiment needs to find an effect, before it is begun."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import ndtri

from recsys.statistics.sequential import half_width


def users_needed(deviation: float, effect: float, level: float = 0.95, power: float = 0.8, share: float = 0.5) -> int:
    """Return the users of both variants together for one look at the end.

    `deviation`: standard deviation of the metric over users, as `Users.linearised` has it. `effect`: the difference in
    the same unit. `share`: of the treated among the users. The formula is that of every textbook, for a two-sided test.
    """
    if not effect:
        raise ValueError("effect: no number of users finds a difference of 0")
    z = float(ndtri(0.5 + level / 2) + ndtri(power))
    return math.ceil((z * deviation / effect) ** 2 / (share * (1 - share)))


def users_needed_pairwise(deviation: float, effect: float, level: float = 0.95, power: float = 0.8) -> int:
    """Return the users of a comparison within users, as interleaving is one. `deviation`: of their differences."""
    if not effect:
        raise ValueError("effect: no number of users finds a difference of 0")
    return math.ceil((float(ndtri(0.5 + level / 2) + ndtri(power)) * deviation / effect) ** 2)


def users_needed_sequential(
    deviation: float, effect: float, tau: float, level: float = 0.95, power: float = 0.8, share: float = 0.5
) -> int:
    """Return the users of both variants together by when an always-valid test, looked at all the time, has found it.

    One-sided where `level` is 1 - 2 alpha. The chance that an earlier look finds it first comes on top of `power`.
    """
    if not effect:
        raise ValueError("effect: no number of users finds a difference of 0")
    z = float(ndtri(power))

    def lacking(log_users: float) -> float:
        error = deviation / math.sqrt(math.exp(log_users) * share * (1 - share))
        return half_width(error, tau, level) + z * error - abs(effect)

    return math.ceil(math.exp(brentq(lacking, 0.0, 60.0)))
