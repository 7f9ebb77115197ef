"""How many people a split and an interleaving need to find that a ranker is 1 % better.

The better ranker has one other item in each slate, of which people click on the more: all clicks together are 1 % more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from load_tests.experiments.people import Doubles, Ints, K, People
from recsys.statistics.interleaving import differences, preference
from recsys.statistics.power import users_needed, users_needed_pairwise
from recsys.statistics.ratios import difference
from recsys.statistics.team_draft import NEITHER, team_draft

LIFT = 0.01
_DRAFTS = 200
"""Coins that are tossed for each place at which the rankers differ; runs draw among them."""


@dataclass(frozen=True)
class Drafts:
    """Slates of both rankers, interleaved by the function that serves."""

    teams: Ints
    """(drafts, K): NEITHER where a click says nothing."""
    better: Doubles
    """(drafts, K): how much more than the average an item is clicked on."""

    @classmethod
    def make(cls) -> Drafts:
        teams, better = [], []
        for place in range(K):
            a = [f"i{n}" for n in range(K)]
            b = [*a[:place], "better", *a[place + 1 :]]
            for number in range(_DRAFTS):
                chosen, drafted = team_draft(a, b, K, f"{place} {number}")
                teams.append(drafted)
                better.append([K * LIFT * ((a, b)[ranker][at] == "better") for ranker, at in chosen])
        return cls(np.array(teams), np.array(better))

    def clicks(self, rng: np.random.Generator, people: People) -> tuple[Doubles, Doubles]:
        """(n,) clicks of each person on the items of A and of B."""
        slates = people.slates(rng)
        who = np.repeat(np.arange(len(slates)), slates)
        which = rng.integers(0, len(self.teams), len(who))
        hit = rng.random((len(who), K)) < people.chance[who, None] * (1 + self.better[which])
        hit &= self.teams[which] != NEITHER
        a, b = (
            np.bincount(who, (hit & (self.teams[which] == team)).sum(axis=1), len(slates)).astype(np.float64)
            for team in (0, 1)
        )
        return a, b


@dataclass(frozen=True)
class Needed:
    """People of both variants together, at 5 % and 80 % power, and the share of runs that found it with so many."""

    split: int
    split_found: float
    interleaved: int
    interleaved_found: float
    wrong: float
    """Share of runs of the interleaving that found the opposite."""

    @property
    def times_fewer(self) -> float:
        return self.split / self.interleaved


def needed(runs: int, seed: int) -> Needed:
    rng = np.random.default_rng(seed)
    drafts = Drafts.make()
    pilot = People.draw(rng, 200_000)
    plain = pilot.period(rng)
    split = users_needed(float(plain.linearised().std()), LIFT * plain.ratio)
    each = differences(*drafts.clicks(rng, pilot))
    interleaved = users_needed_pairwise(float(each.std()), float(each.mean()))
    two_sided, interleaved_right, wrong = 0, 0, 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        sides = [People.draw(rng, split // 2).period(rng, lift) for lift in (LIFT, 0.0)]
        two_sided += difference(sides[0], sides[1]).low > 0
        preferred = preference(*drafts.clicks(rng, People.draw(rng, interleaved)))
        interleaved_right += preferred.low > 0
        wrong += preferred.high < 0
    return Needed(split, two_sided / runs, interleaved, interleaved_right / runs, wrong / runs)
