"""What another policy would have brought, from what this one showed and with which probability it did.

IPS: Horvitz and Thompson 1952. SNIPS: Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual
Learning", NeurIPS 2015. DR: Dudík, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011. An
estimate is refused where a few rows would decide it: its interval would be too narrow then, and nobody would see that.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from recsys.statistics.intervals import LEVEL, Doubles, Estimate, Refusal, normal
from recsys.statistics.ratios import error

LEAST_EFFECTIVE = 200.0
"""Rows of equal weight that the sample must be worth, (sum w)^2 / sum w^2 (Kish 1965)."""
LEAST_EVENTS = 20.0
"""Rewards, by their weights, that must be among them: an interval over a handful of clicks means nothing."""
HEAVIEST = 0.05
"""Share of all weight that one row may have."""
_WRONG = 0.9999
"""Level at which the mean weight must be able to be 1. It is 1 exactly where the propensities are true and the logging
policy could show whatever the other one shows."""


def effective(weights: Doubles) -> float:
    """Return the rows of equal weight that (n,) weights are worth."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def weights_of(target: Doubles, logged: Doubles) -> Doubles:
    """Return (n,) float64: how much likelier the other policy would have shown each row. `logged` must be above 0."""
    if (logged <= 0).any():
        raise ValueError("logged: a row was shown with the probability 0")
    return target / logged


def refusal(rewards: Doubles, weights: Doubles) -> Refusal | None:
    """Return why no estimate is made of these rows; None: they will do."""
    worth = effective(weights)
    if worth < LEAST_EFFECTIVE:
        return Refusal(f"the sample is worth {worth:.0f} rows and {LEAST_EFFECTIVE:.0f} are needed", worth)
    if (share := float(weights.max() / weights.sum())) > HEAVIEST:
        return Refusal(f"one row has {share:.0%} of the weight and at most {HEAVIEST:.0%} is allowed", worth)
    if abs(weights.mean() - 1.0) > float(ndtri(0.5 + _WRONG / 2)) * error(weights):
        return Refusal(
            f"the mean weight is {weights.mean():.3f} and has to be 1: the policy that was logged could not show what "
            "the other one would, or its propensities are wrong",
            worth,
        )
    carried = rewards != 0
    events = effective(weights[carried]) if carried.any() else 0.0
    if events < LEAST_EVENTS:
        return Refusal(f"the rewards are worth {events:.0f} events and {LEAST_EVENTS:.0f} are needed", worth)
    return None


def ips(rewards: Doubles, weights: Doubles, level: float = LEVEL) -> Estimate | Refusal:
    """Return the mean reward of the other policy: the mean of weight times reward. (n,) float64 each."""
    return refusal(rewards, weights) or normal(float((weights * rewards).mean()), error(weights * rewards), level)


def snips(rewards: Doubles, weights: Doubles, level: float = LEVEL) -> Estimate | Refusal:
    """Return the same, divided by the mean weight: a little bias for much less variance."""
    refused = refusal(rewards, weights)
    if refused is not None:
        return refused
    value = float(weights @ rewards / weights.sum())
    return normal(value, error(weights * (rewards - value) / weights.mean()), level)


def doubly_robust(
    rewards: Doubles, weights: Doubles, expected_shown: Doubles, expected_other: Doubles, level: float = LEVEL
) -> Estimate | Refusal:
    """Return the same by a model of the reward, which the weights put right where it is wrong.

    `expected_shown`: (n,) what the model expects of what was shown. `expected_other`: (n,) what it expects of the other
    policy, averaged over what that would show. The model must not have been fitted on the same rows.
    """
    refused = refusal(rewards, weights)
    if refused is not None:
        return refused
    each = expected_other + weights * (rewards - expected_shown)
    return normal(float(each.mean()), error(np.asarray(each, np.float64)), level)
