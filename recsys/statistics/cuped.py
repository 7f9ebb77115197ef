"""CUPED: what users did before the experiment takes out of the variance what they brought with them.

Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment
Data", WSDM 2013. The number of before must not be one that the variant can change. It halves the users needed where it
correlates with the metric by 0.7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.statistics.intervals import LEVEL, Estimate, normal
from recsys.statistics.ratios import Users, difference, error


@dataclass(frozen=True, slots=True)
class Adjusted:
    difference: Estimate
    spared: float
    """Share of the variance that is gone, 0 to 1."""


def adjusted(treated: Users, control: Users, level: float = LEVEL) -> Adjusted:
    """Return the treated ratio minus the control's, adjusted by `Users.before`. Unadjusted where that is not known."""
    plain = difference(treated, control, level)
    if treated.before is None or control.before is None:
        return Adjusted(plain, 0.0)
    values, before = [treated.linearised(), control.linearised()], [treated.before, control.before]
    # One slope for both variants: two would let chance in the slopes into the difference.
    centred = np.concatenate([x - x.mean() for x in before])
    spread = float(centred @ centred)
    if not spread:
        return Adjusted(plain, 0.0)
    slope = float(centred @ np.concatenate([y - y.mean() for y in values])) / spread
    rest = [y - slope * x for y, x in zip(values, before, strict=True)]
    adjusted = normal(float(rest[0].mean() - rest[1].mean()), float(np.hypot(error(rest[0]), error(rest[1]))), level)
    return Adjusted(adjusted, max(0.0, 1.0 - (adjusted.error / plain.error) ** 2))
