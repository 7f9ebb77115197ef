"""The linear blend: a weight for each signal, chosen on validation cases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recsys.datatypes import Floats
from recsys.ranking.kept_sums import RESCORED
from recsys.ranking.signals import SIGNALS
from recsys.training.case_table import CaseTable

START = {name: signal.start for name, signal in SIGNALS.items()}
"""Weights at which the search starts."""
GRIDS = {name: signal.grid for name, signal in sorted(SIGNALS.items(), key=lambda row: row[1].turn) if signal.grid}
"""Weights to try, in the order in which signals are searched."""
_ROUNDS = 3
"""Passes over all signals."""
_SPREAD = 1.5
"""Standard deviation of the scaled blend over a request's best candidates."""


def blended(table: CaseTable, weights: Mapping[str, float]) -> Floats:
    """Return the (n,) float32 scores of the table's n candidates."""
    return table.signals @ np.array([weights[name] for name in SIGNALS], np.float32)


def choose_weights(table: CaseTable) -> dict[str, float]:
    """Return the weights with the best NDCG@10, searched one signal at a time."""
    if not len(table.hit):
        return dict(START)
    best, before = dict(START), table.ndcg(blended(table, START))
    for _ in range(_ROUNDS):
        for name, grid in GRIDS.items():
            tried = {step: table.ndcg(blended(table, best | {name: step})) for step in grid if step != best[name]}
            step = max(tried, key=lambda s: tried[s].sum())
            if (tried[step] - before).sum() > 0:
                best, before = best | {name: step}, tried[step]
    return best


def scaled(table: CaseTable, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights at the scale that LambdaRank's logistic function needs. The order of candidates is the same.

    At this scale the function distinguishes the best candidates, so trees learn corrections to the blend.
    """
    if not len(table.hit):
        return dict(weights)
    few = table.best(blended(table, weights), RESCORED)
    scores = blended(few, weights)
    means = np.bincount(few.owners, scores) / np.diff(few.offsets)
    spread = float(np.sqrt(np.mean((scores - means[few.owners]) ** 2)))
    return {name: weight * _SPREAD / max(spread, 1e-6) for name, weight in weights.items()}
