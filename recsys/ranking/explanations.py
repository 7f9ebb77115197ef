"""What a score is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from recsys.datatypes import Floats
from recsys.ranking.rules import Effect
from recsys.ranking.signals import SIGNALS

TREES = "trees"
"""The contribution of the trees, which is no signal."""


class Explanations(msgspec.Struct, frozen=True):
    """Of the n candidates of a batch."""

    signals: Floats
    """(n, len(SIGNALS))"""
    weights: Sequence[Mapping[str, float]]
    """Of each request."""
    blended: Floats
    """(n,) scores before the trees."""
    ranked: Floats
    """(n,) scores after the trees, before the rules."""
    effects: Sequence[Effect]
    shares: Callable[[int], Mapping[str, float]] | None = None
    """What each feature of the trees adds to a candidate, see `Ranker.shares`; None: no trees rank."""

    def signals_of(self, row: int) -> dict[str, float]:
        """Signals of one candidate, those of rules and of rotation among them."""
        signals = dict(zip(SIGNALS, map(float, self.signals[row]), strict=True))
        return signals | {effect.name: signal for effect in self.effects if (signal := effect.of(row)) is not None}

    def contributions_of(self, request: int, row: int, *, full: bool = False) -> dict[str, float]:
        """What adds up to the score of one of a request's candidates. `full`: with the trees' part by feature, as
        `trees:NAME`.
        """
        places = {name: place for place, name in enumerate(SIGNALS)}
        weights = self.weights[request]
        parts = {name: weight * float(self.signals[row, places[name]]) for name, weight in weights.items() if weight}
        if trees := float(self.ranked[row]) - float(self.blended[row]):
            if full and self.shares is not None:
                shares = dict(self.shares(row))
                # The ranker adds float32, a share is float64: the hundred-thousandth between them goes to the mean.
                shares["base"] += trees - sum(shares.values())
                parts |= {f"{TREES}:{name}": share for name, share in shares.items() if share}
            else:
                parts[TREES] = trees
        for effect in self.effects:
            if effect.weight and (signal := effect.of(row)) is not None:
                parts[effect.name] = effect.weight * signal
        return parts
