"""Short int8 codes of vectors. They tell how similar two candidates are, and are 24 times smaller on the wire.

A code has the components of a vector along the first principal directions of the catalogue (an SVD without centring is
the best rank-w approximation of inner products, Eckart and Young 1936), scaled to int8 row by row. The scale does not
change a cosine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats

WIDTH = 64
"""Directions kept. On MovieLens titles the cosine of two sketches is off by a few hundredths from the vectors'."""
_SAMPLE = 20_000


class Sketcher:
    """`directions` is (d, w) float32 with orthonormal columns."""

    def __init__(self, directions: Floats) -> None:
        self.directions = directions
        self.width = directions.shape[1]

    @classmethod
    def fit(cls, vectors: Floats) -> Sketcher:
        """Learn the directions from (n, d) vectors. With fewer vectors than directions, use a fixed random rotation."""
        dimension = vectors.shape[1]
        width = min(WIDTH, dimension)
        rng = np.random.default_rng(7)
        if len(vectors) < width:
            basis, _ = np.linalg.qr(rng.standard_normal((dimension, width)))
            return cls(basis.astype(np.float32))
        rows = rng.choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False)
        sample = np.asarray(vectors[np.sort(rows)], np.float32)
        _, axes = np.linalg.eigh(sample.T @ sample)
        return cls(np.ascontiguousarray(axes[:, ::-1][:, :width], np.float32))

    def sketch(self, vectors: Floats) -> npt.NDArray[np.int8]:
        """(n, d) -> (n, w) int8; a zero vector gives zeros."""
        return _rounded(vectors @ self.directions)

    def sketch_each(self, vectors: Floats) -> npt.NDArray[np.int8]:
        """The same of each vector by itself: the last bits of a product depend on how many rows it has."""
        codes = np.empty((len(vectors), self.width), np.float32)
        for place in range(len(vectors)):
            np.matmul(vectors[place : place + 1], self.directions, out=codes[place : place + 1])
        return _rounded(codes)


def _rounded(codes: Floats) -> npt.NDArray[np.int8]:
    largest = np.abs(codes).max(axis=1, keepdims=True, initial=0.0)
    return np.round(codes * (127.0 / np.maximum(largest, 1e-12))).astype(np.int8)


def unit(codes: npt.NDArray[np.int8]) -> Floats:
    """Sketches, (..., b) int8, as float32 unit vectors over the last axis; zeros stay zero."""
    wide = codes.astype(np.float32)
    return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)
