"""Places that are drawn at random, in known proportions, so that other orders can be judged by the log."""

from __future__ import annotations

import os

import numpy as np
from msgspec import structs

from recsys.answers import Slate


def drawn(slate: Slate, temperature: float, seed: bytes | None = None) -> Slate:
    """The same items in an order drawn without replacement in the proportions of exp(score / temperature), after
    Plackett and Luce. Each has the probability that it was drawn for its place, after those before it.

    `seed` None: another order each time.
    """
    if len(slate.items) < 2:
        return slate
    scores = np.array([item.score for item in slate.items]) / temperature
    coin = np.random.default_rng(list(os.urandom(16) if seed is None else seed))
    # The largest of scores with Gumbel noise is drawn as softmax says, the next one as it says of the others.
    order = np.argsort(-(scores + coin.gumbel(size=len(scores))), kind="stable")
    weights = np.exp(scores[order] - scores.max())
    left = np.cumsum(weights[::-1])[::-1]
    items = [structs.replace(slate.items[place], rank=rank) for rank, place in enumerate(order.tolist(), start=1)]
    return structs.replace(slate, items=tuple(items), propensities=tuple((weights / left).tolist()))
