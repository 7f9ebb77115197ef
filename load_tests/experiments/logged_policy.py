"""Off-policy estimates of a policy whose value is known, and when they are refused.

Contexts of five kinds; ten items, whose rewards differ by kind. The policy that is logged draws by a softmax of noisy
scores, the other one is sharper and has other scores.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from load_tests.experiments.people import Doubles
from recsys.statistics.intervals import Refusal
from recsys.statistics.off_policy import doubly_robust, ips, snips

_KINDS, _ITEMS = 5, 10


@dataclass(frozen=True)
class Truth:
    chance: Doubles
    """(kinds, items) probability of a reward."""
    logged: Doubles
    """(kinds, items) probability of being shown."""
    other: Doubles
    """The same of the other policy."""

    @classmethod
    def make(cls, seed: int, sharpness: float) -> Truth:
        rng = np.random.default_rng(seed)
        chance = rng.beta(2, 18, (_KINDS, _ITEMS))
        scores = (chance - chance.mean()) / chance.std() + rng.normal(0, 1, chance.shape)
        return cls(chance, _softmax(0.5 * scores), _softmax(sharpness * (scores + rng.normal(0, 0.5, chance.shape))))

    @property
    def value(self) -> float:
        """Mean reward of the other policy; every kind is as frequent."""
        return float((self.other * self.chance).sum(axis=1).mean())


@dataclass(frozen=True)
class Judged:
    covered: dict[str, float]
    """Method -> share of its estimates whose interval contains the truth."""
    refused: float
    """Share of runs without an estimate."""
    effective: float
    """Rows of equal weight that the samples were worth, on average."""


def judged(truth: Truth, runs: int, rows: int, seed: int) -> Judged:
    hits: Counter[str] = Counter()
    estimated: Counter[str] = Counter()
    refused, worth = 0, 0.0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        kind = rng.integers(0, _KINDS, rows)
        item = (truth.logged.cumsum(axis=1)[kind] < rng.random((rows, 1))).sum(axis=1).clip(0, _ITEMS - 1)
        reward = (rng.random(rows) < truth.chance[kind, item]).astype(float)
        weights = truth.other[kind, item] / truth.logged[kind, item]
        # A model that is wrong: it knows items and no kinds. It was fitted on other rows.
        model = truth.chance.mean(axis=0) * 1.2
        estimates = {
            "IPS": ips(reward, weights),
            "SNIPS": snips(reward, weights),
            "DR": doubly_robust(reward, weights, model[item], (truth.other * model).sum(axis=1)[kind]),
        }
        worth += float(weights.sum() ** 2 / (weights @ weights))
        refused += any(isinstance(estimate, Refusal) for estimate in estimates.values())
        for name, estimate in estimates.items():
            if not isinstance(estimate, Refusal):
                estimated[name] += 1
                hits[name] += estimate.holds(truth.value)
    return Judged({name: hits[name] / estimated[name] for name in estimated}, refused / runs, worth / runs)


def _softmax(values: Doubles) -> Doubles:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
