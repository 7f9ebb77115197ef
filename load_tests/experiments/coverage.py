"""How often intervals contain the truth, and how often tests find what is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from load_tests.experiments.people import People, click_through
from recsys.statistics.cuped import adjusted
from recsys.statistics.intervals import Estimate, two_sided_p
from recsys.statistics.ratios import Users, bootstrapped, difference, lift, ratio
from recsys.statistics.sequential import always_valid, mixture

EFFECT = 0.05
"""The true lift."""


def coverage(runs: int, users: int, seed: int) -> dict[str, float]:
    """Share of runs whose 95 % interval contains the truth, by kind of interval. `users` in each variant."""
    base = click_through()
    hits: Counter[str] = Counter()
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        control = People.draw(rng, users).period(rng, before=True)
        treated = People.draw(rng, users).period(rng, EFFECT, before=True)
        told: dict[str, tuple[Estimate, float]] = {
            "ratio (delta method)": (ratio(control), base),
            "difference (delta method)": (difference(treated, control), base * EFFECT),
            "lift (delta method)": (lift(treated, control), EFFECT),
            "difference (CUPED)": (adjusted(treated, control).difference, base * EFFECT),
        }
        naive = Estimate(*_naive(treated, control))
        told["difference (answers taken for independent)"] = (naive, base * EFFECT)
        hits.update(name for name, (estimate, truth) in told.items() if estimate.holds(truth))
    return {name: hits[name] / runs for name in told}


def bootstrap_coverage(runs: int, users: int, seed: int) -> float:
    """The same of the bootstrap alone, which takes a hundred times as long."""
    hits = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        control = People.draw(rng, users).period(rng)
        treated = People.draw(rng, users).period(rng, EFFECT)
        hits += bootstrapped(treated, control, run).holds(click_through() * EFFECT)
    return hits / runs


def _naive(treated: Users, control: Users) -> tuple[float, float, float, float]:
    """A difference of two shares of items, as if every item were a draw of its own."""
    errors = [np.sqrt(u.ratio * (1 - u.ratio) / u.denominators.sum()) for u in (treated, control)]
    value, half = treated.ratio - control.ratio, 1.96 * float(np.hypot(*errors))
    return value, half / 1.96, value - half, value + half


def spared(users: int, seed: int) -> float:
    """Share of the variance that CUPED takes away."""
    rng = np.random.default_rng(seed)
    control, treated = (People.draw(rng, users).period(rng, before=True) for _ in range(2))
    return adjusted(treated, control).spared


def false_positives(runs: int, users: int, days: int, seed: int) -> dict[str, float]:
    """Share of runs of two equal variants in which a difference is found at 5 %, looked at once or every day."""
    tau = mixture(EFFECT * click_through())
    tests: dict[str, Callable[[Estimate], bool]] = {
        "usual test": lambda e: two_sided_p(e.value, e.error) < 0.05,
        "always-valid test": lambda e: always_valid(e, tau).excludes_zero,
    }
    differences: Counter[str] = Counter()
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        arms = [np.cumsum(People.draw(rng, users).days(rng, days), axis=1) for _ in range(2)]
        looks = []
        for day in range(days):
            sides = []
            for clicks, items in arms:
                came = items[day] > 0
                sides.append(Users(clicks[day][came], items[day][came]))
            looks.append(difference(sides[0], sides[1]))
        for name, finds in tests.items():
            differences[f"{name}, one look at the end"] += finds(looks[-1])
            differences[f"{name}, a look every day"] += any(map(finds, looks))
    return {name: count / runs for name, count in sorted(differences.items())}
