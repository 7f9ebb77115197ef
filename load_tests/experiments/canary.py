"""Canaries that are worse by a known amount, or equal: when the guardrail that serves rolls them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from load_tests.experiments.people import People
from recsys.experiments.guardrails import Arms, disliked
from recsys.statistics.power import users_needed_sequential
from recsys.statistics.ratios import Users
from recsys.statistics.sequential import mixture

WORSE = 0.05
STEPS: Sequence[tuple[float, int]] = ((0.05, 4_000), (0.25, 8_000), (0.5, 0))
"""Share of the users on the canary, and users who come in the step; 0: until the end."""
_LOOKS = 40
"""Looks in the last step; each step before it has four."""


@dataclass(frozen=True)
class Canaries:
    sample: int
    """Users within which a worse one should be rolled back: those of the first steps, and what the power calculation
    says for the last one at 95 %."""
    rolled_back: float
    """Share of runs in which it was, within the sample."""
    users: float
    """After so many on the median, of those that were."""


def sample() -> int:
    pilot = People.draw(np.random.default_rng(1), 200_000).period(np.random.default_rng(2))
    wanted = WORSE * pilot.ratio
    last = users_needed_sequential(
        float(pilot.linearised().std(ddof=1)), wanted, mixture(wanted), level=0.9, power=0.95, share=STEPS[-1][0]
    )
    return last + sum(users for _, users in STEPS)


def canaries(runs: int, lift: float, seed: int) -> Canaries:
    """`lift`: the true one of the canary, negative where it is worse."""
    most, rolled_back = sample(), []
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        if (after := _rolled_back(rng, lift, most)) is not None:
            rolled_back.append(after)
    return Canaries(most, len(rolled_back) / runs, float(np.median(rolled_back)) if rolled_back else float("nan"))


def _rolled_back(rng: np.random.Generator, lift: float, most: int) -> int | None:
    """After how many users; None: not at all."""
    came, arms = 0, []
    for share, users in STEPS:
        looks = 4 if users else _LOOKS
        batch = (users or most - came) // looks
        arms.append(Arms(_none(), _none()))
        for _ in range(looks):
            treated = round(batch * share)
            new = Arms(People.draw(rng, treated).period(rng, lift), People.draw(rng, batch - treated).period(rng))
            arms[-1] = Arms(_joined(arms[-1].treated, new.treated), _joined(arms[-1].control, new.control))
            came += batch
            if disliked(WORSE, arms) is not None:
                return came
    return None


def _none() -> Users:
    return Users(np.zeros(0), np.zeros(0))


def _joined(first: Users, second: Users) -> Users:
    return Users(
        np.concatenate([first.numerators, second.numerators]), np.concatenate([first.denominators, second.denominators])
    )
