"""Names of vectors: equal ones have the same, whatever items they belong to."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats, Keys, Rows

BLOCK = 1 << 14
"""Rows scored at a time: 25 MB of vectors at 384 dimensions."""


def vector_names(vectors: Floats) -> Keys:
    """(n,) uint64: a hash of each vector. Two different vectors share one with a probability under 2^-32."""
    factors = _factors(vectors.shape[1])
    names = np.zeros(len(vectors), np.uint64)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        bits = (vectors[part] + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0, which it equals
        names[part] = (bits.astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    return names


@cache
def _factors(width: int) -> Keys:
    """(width,) uint64 at random, the same in every process. Nobody changes them."""
    return np.random.default_rng(0).integers(0, 1 << 64, width, np.uint64)


def distinct(vectors: Floats) -> Rows:
    """(m,) int64: the first row of each distinct one of (n, d) vectors, in order."""
    return np.sort(np.unique(vector_names(vectors), return_index=True)[1])


def first_of_each(names: Keys) -> npt.NDArray[np.bool_]:
    """(m, w) whether a name is the first like it of its line."""
    order = np.argsort(names, axis=1, kind="stable")
    lined, first = np.take_along_axis(names, order, 1), np.ones(names.shape, bool)
    np.put_along_axis(first, order[:, 1:], lined[:, 1:] != lined[:, :-1], 1)
    return first
