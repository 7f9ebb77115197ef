"""Vectors as whole numbers within a signed byte.

The whole index has one scale, which its first vectors fix: components of a unit vector of 384 dimensions are about
0.05, and a constant scale would waste most of the byte. Queries are rounded too, each by a scale of its own, because
faiss multiplies bytes with bytes where the processor can, and cuts off a query's fractions there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats

_HEADROOM = 1.25
"""Components of later vectors may be larger than those of the first by this factor before they are clipped."""
SMALLEST = 1e-30
"""A query whose components are all smaller counts as zeros."""
READ = 1 << 23
"""Components read at a time: 32 MiB as float32."""


class Rounding:
    """`scale`: factor of a component before it is rounded; 0.0 until the first vectors come."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def codes(self, vectors: Floats) -> Floats:
        """(n, d) whole numbers within a signed byte, as faiss takes them."""
        if not self.scale and len(vectors):
            self._fix(float(max(vectors.max(), -vectors.min())))
        rounded = vectors * np.float32(self.scale)
        np.rint(rounded, out=rounded)
        np.clip(rounded, -127, 127, out=rounded)
        return rounded + np.float32(0)  # no -0.0

    def coded(self, vectors: npt.NDArray[np.floating]) -> Iterator[Floats]:
        """`codes` of all vectors, some at a time."""
        step = max(READ // vectors.shape[1], 1)
        blocks = [slice(start, start + step) for start in range(0, len(vectors), step)]
        if not self.scale:
            self._fix(max(float(max(part.max(), -part.min())) for part in (vectors[block] for block in blocks)))
        for block in blocks:
            yield self.codes(np.asarray(vectors[block], np.float32))

    def _fix(self, largest: float) -> None:
        self.scale = 127 / (_HEADROOM * (largest or 1.0))

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        """Each query as long as bytes allow: a learned taste, a hundredth as long as an item, would become zeros. And
        the (m, 1) factors by which the products are too large.
        """
        largest = np.abs(queries).max(axis=1, keepdims=True)
        fits = np.float32(127) / np.maximum(largest, np.float32(SMALLEST))
        return np.rint(queries * fits), fits / np.float32(self.scale or 1.0)

    def scores(self, products: Floats) -> Floats:
        """Inner products of codes as those of the vectors."""
        return products * np.float32(1 / self.scale**2)

    def vectors(self, codes: Floats) -> Floats:
        return codes * np.float32(1 / (self.scale or 1.0))
