"""How many candidates each of several shards is asked for."""

from __future__ import annotations

from functools import cache

from scipy.special import bdtrc

HIDDEN = 0.01
"""Share of answers in which a shard may hold back one of the best candidates, for it was asked for few."""


@cache
def asked_of_each(k: int, shards: int) -> int:
    """So many of each shard that in all but HIDDEN of answers every one of the best k of all is among them.

    Items lie by the hash of their ids, so a shard's number of the best k is binomial: (k, 1 / shards). By the union
    bound over shards.
    """
    return next(q for q in range(1, k + 1) if shards * bdtrc(q, k, 1 / shards) <= HIDDEN)
