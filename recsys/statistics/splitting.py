"""Who is in an experiment, and in which variant: hashes of the user, the same in every process and at every time.

A point of a user lies in [0, 1) and is uniform over users. Points of different salts are independent. A layer is a
salt: experiments of one layer take disjoint parts of [0, 1), so no user is in two of them. Experiments of different
layers cross each other at random.

A ramp widens an experiment's part of its layer at the end. Who is in stays in, and keeps the variant, because variants
are chosen by a second point that the ramp does not touch.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

_SCALE = 2.0**-64


def point(salt: str, unit: str) -> float:
    """Return the unit's number in [0, 1): 64 bits of BLAKE2b of salt and unit. `salt` has at most 64 bytes."""
    digest = hashlib.blake2b(unit.encode(), digest_size=8, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") * _SCALE


class Split:
    """`share`: of all users, from `start` of the layer on. `weights`: of the variants among those who are in."""

    __slots__ = ("_bounds", "_layer", "_salt", "end", "start")

    def __init__(self, layer: str, salt: str, weights: Sequence[float], share: float = 1.0, start: float = 0.0) -> None:
        self._layer = layer
        self._salt = salt
        self.start, self.end = start, start + share
        total = sum(weights)
        self._bounds = [bound / total for bound in accumulate(weights)][:-1]

    def variant(self, unit: str) -> int | None:
        """Return the place of the unit's variant. None: the unit is not in the experiment."""
        if not (self.end - self.start >= 1.0 or self.start <= point(self._layer, unit) < self.end):
            return None
        return bisect_right(self._bounds, point(self._salt, unit))
