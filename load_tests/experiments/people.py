"""Made-up people with a known true effect: how often they come, and how readily they click.

Two kinds, casual and regular: regular people come six times as often and click more. So answers of one person resemble
each other, and how often somebody comes tells something of how often they click, as it is with real people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.statistics.ratios import Users

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

K = 10
"""Items in a slate."""
REGULAR = 0.25
_RATES = np.array([2.0, 12.0])
"""Slates of a person in the experiment, beside the first, by kind."""
_CLICKS = np.array([[2.0, 23.0], [3.0, 17.0]])
"""Parameters of the beta distribution of the probability of a click on an item, by kind."""


def click_through() -> float:
    """The true ratio of clicks to items of all people."""
    shares = np.array([1 - REGULAR, REGULAR])
    slates = shares * (1 + _RATES)
    return float(slates @ (_CLICKS[:, 0] / _CLICKS.sum(axis=1)) / slates.sum())


@dataclass(frozen=True)
class People:
    regular: Ints
    """(n,) 0 or 1."""
    chance: Doubles
    """(n,) probability of a click on an item."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> People:
        regular = (rng.random(count) < REGULAR).astype(np.int64)
        return cls(regular, rng.beta(_CLICKS[regular, 0], _CLICKS[regular, 1]))

    def slates(self, rng: np.random.Generator) -> Ints:
        """(n,) how many slates each person looks at."""
        return 1 + rng.poisson(_RATES[self.regular])

    def period(self, rng: np.random.Generator, lift: float = 0.0, *, before: bool = False) -> Users:
        """What they do in an experiment. `lift`: of the probability of a click. `before`: with the period before it."""
        items = K * self.slates(rng)
        clicks = rng.binomial(items, np.minimum(self.chance * (1 + lift), 1.0))
        earlier = None
        if before:
            shown = K * self.slates(rng)
            earlier = rng.binomial(shown, self.chance) / shown
        return Users(clicks.astype(float), items.astype(float), earlier)

    def days(self, rng: np.random.Generator, days: int, lift: float = 0.0) -> tuple[Doubles, Doubles]:
        """(days, n) clicks and items: everybody begins on some day, and comes back on others."""
        begins = rng.integers(0, days, len(self.chance))
        here = np.arange(days)[:, None] >= begins
        items = K * rng.poisson(here * (1 + _RATES[self.regular]) / days)
        items += K * (np.arange(days)[:, None] == begins)
        clicks = rng.binomial(items, np.minimum(self.chance * (1 + lift), 1.0))
        return clicks.astype(float), items.astype(float)
