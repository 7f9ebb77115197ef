"""What another temperature would bring: the share of clicks on the first place, from answers of a random order."""

from __future__ import annotations

import numpy as np

from recsys.outcomes.drawn_places import Doubles, FirstPlaces
from recsys.statistics.intervals import Estimate, Refusal
from recsys.statistics.off_policy import doubly_robust, ips, snips, weights_of

_PRIOR = 10.0
"""Answers of the average that a place by score is taken for beside its own."""


def other_temperature(places: FirstPlaces, temperature: float) -> dict[str, Estimate | Refusal]:
    """By method. `temperature` 0: the best comes first. Without any answer all are refused."""
    if not len(places.clicked):
        none = Refusal("no answer of the period has places that were drawn; set the scenario's temperature", 0.0)
        return {"ips": none, "snips": none, "dr": none}
    target = _chances(places.scores, temperature)
    weights = weights_of(target[:, 0], places.propensities)
    shown, other = _expected(places, target)
    return {
        "ips": ips(places.clicked, weights),
        "snips": snips(places.clicked, weights),
        "dr": doubly_robust(places.clicked, weights, shown, other),
    }


def _chances(scores: Doubles, temperature: float) -> Doubles:
    """(n, k) with which chance each item would come first."""
    best = scores.max(axis=1, keepdims=True)
    raised = np.exp((scores - best) / temperature) if temperature else (scores == best).astype(np.float64)
    return raised / raised.sum(axis=1, keepdims=True)


def _expected(places: FirstPlaces, target: Doubles) -> tuple[Doubles, Doubles]:
    """(n,) what a model expects of what was shown, and of what would be. It knows each item's place by score.

    It is fitted on every second row for the others, and the other way round.
    """
    ranks = np.argsort(np.argsort(-places.scores, axis=1, kind="stable"), axis=1)
    shown, other = np.empty(len(ranks)), np.empty(len(ranks))
    fold = np.arange(len(ranks)) % 2
    for side in (0, 1):
        fitted, judged = fold != side, fold == side
        count = np.bincount(ranks[fitted, 0], minlength=ranks.shape[1])
        clicks = np.bincount(ranks[fitted, 0], places.clicked[fitted], ranks.shape[1])
        mean = clicks.sum() / max(count.sum(), 1)
        expected = (clicks + _PRIOR * mean) / (count + _PRIOR)
        shown[judged] = expected[ranks[judged, 0]]
        other[judged] = (target[judged] * expected[ranks[judged]]).sum(axis=1)
    return shown, other
