"""What an estimate is: a number with its standard error and an interval, or a refusal to give one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

LEVEL = 0.95
"""Share of experiments whose interval contains the truth."""


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    error: float
    """Standard error, in the unit of `value`."""
    low: float
    high: float
    """Bounds of the interval, in the unit of `value`."""
    level: float = LEVEL

    def holds(self, truth: float) -> bool:
        """Whether the interval contains a number."""
        return self.low <= truth <= self.high

    @property
    def excludes_zero(self) -> bool:
        return not self.holds(0.0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """No estimate, and why."""

    reason: str
    effective: float
    """Rows of equal weight that the sample is worth, see `off_policy.py`."""


def unknown(level: float = LEVEL) -> Estimate:
    """Return the estimate of what cannot be told: NaN, and so are its bounds."""
    return Estimate(float("nan"), float("nan"), float("nan"), float("nan"), level)


def normal(value: float, error: float, level: float = LEVEL) -> Estimate:
    """Return an estimate whose interval rests on the central limit theorem."""
    from scipy.special import ndtri  # noqa: PLC0415 - composers import this file, and need it seldom

    half = float(ndtri(0.5 + level / 2)) * error
    return Estimate(value, error, value - half, value + half, level)


def two_sided_p(value: float, error: float) -> float:
    """Return the probability of a value at least as far from 0, if the truth is 0. 1 without an error."""
    from scipy.special import ndtr  # noqa: PLC0415 - as above

    return 1.0 if not error else float(2 * ndtr(-abs(value) / error))
