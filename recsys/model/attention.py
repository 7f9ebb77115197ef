"""Self-attention over the last likes: the next item, predicted by a network of one block (Kang and McAuley 2018,
"Self-Attentive Sequential Recommendation").

Only the newest like attends to the others. So its query, and the value that it receives, are each one product with a
matrix that training multiplied from several, and the cost hardly depends on the number of likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from recsys.columns import find
from recsys.datatypes import Floats, Keys, Rows

_PREFIX = "attention_"
_FLAT = 1e-5
"""Added to the variance, as in PyTorch's LayerNorm, so that a constant vector is not divided by 0."""


@dataclass(frozen=True, slots=True)
class Attention:
    """A network of H heads over L likes, with V items of d dimensions. All arrays are float32 but `keys`.

    `keys`: (V,) uint64, sorted. `items`: (V, d). `mean`: (d,), their mean. Let x_l be the vectors of the likes times
    the root of d, newest first, and n_l these normalised. Each head has a = softmax((n_0 @ ask + ask_bias) . n_l +
    place[:, l]). Then z = x_0 + (sum of a_l n_l) @ tell + tell_bias, and y = z + relu(norm(z) @ wide + wide_bias) @
    narrow + narrow_bias. An item's score is its inner product with norm(y) * gain + shift, less that of the mean.
    """

    keys: Keys
    items: Floats
    mean: Floats
    ask: Floats
    """(d, H * d): products of query and key matrices."""
    ask_bias: Floats
    place: Floats
    """(H, L): bias by the position of a like."""
    tell: Floats
    """(H * d, d): products of value and output matrices."""
    tell_bias: Floats
    wide: Floats
    wide_bias: Floats
    narrow: Floats
    narrow_bias: Floats
    gain: Floats
    shift: Floats
    normal: Floats = field(init=False, repr=False)
    """(V, d): the items times the root of d, normalised, as the block reads them: made once, and not for every like."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "normal", _normal(self.items * self._root))

    @property
    def _root(self) -> np.float32:
        return np.float32(np.sqrt(self.items.shape[1]))

    def find(self, keys: Keys) -> Rows:
        """Return (n,) rows of `items`; -1: the network lacks the item."""
        return find(self.keys, keys)

    def expected(self, trail: Keys, trail_offsets: Rows) -> tuple[Rows, Floats, Floats]:
        """Return (r,) the requests with a like in the network, (r, d) the vectors that they expect next, and (r,) the
        scores of the mean item, to be subtracted.

        `trail`: (t,) keys, newest first. Request b has `trail_offsets[b]:trail_offsets[b + 1]`.
        """
        likes = self._grid(self.find(trail), trail_offsets)
        requests = np.flatnonzero(likes[:, 0] >= 0)
        likes = likes[requests]
        heads, size = len(self.place), self.items.shape[1]
        newest = self.items[likes[:, 0]] * self._root
        normal = self.normal[likes]
        queries = (_each(normal[:, 0], self.ask) + self.ask_bias).reshape(-1, heads, size)
        weights = queries @ normal.transpose(0, 2, 1) + self.place
        weights[np.broadcast_to((likes < 0)[:, None], weights.shape)] = -np.inf
        weights = np.exp(weights - weights.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        context = _each((weights @ normal).reshape(-1, heads * size), self.tell) + self.tell_bias
        state = newest + context
        wide = np.maximum(_each(_normal(state), self.wide) + self.wide_bias, 0.0)
        state += _each(wide, self.narrow) + self.narrow_bias
        expected: Floats = _normal(state) * self.gain + self.shift
        average: Floats = _each(expected, self.mean[:, None])[:, 0]
        return requests, expected, average

    def scores(self, trail: Keys, trail_offsets: Rows, offsets: Rows, rows: Rows) -> Floats:
        """Return (n,) float32 scores of the candidates at `rows`. Request b has `offsets[b]:offsets[b + 1]`.

        An unknown item (-1) scores 0, as the mean item does. So does every item of a request without a known like.
        """
        scores = np.zeros(len(rows), np.float32)
        for b, expected, average in zip(*self.expected(trail, trail_offsets), strict=True):
            own = slice(offsets[b], offsets[b + 1])
            scores[own] = self.items[rows[own]] @ expected - average
        scores[rows < 0] = 0.0
        return scores

    def _grid(self, rows: Rows, offsets: Rows) -> Rows:
        """Return (B, L) int64: the known likes of each request, newest first, padded with -1."""
        size, length = len(offsets) - 1, self.place.shape[1]
        owners = np.repeat(np.arange(size), np.diff(offsets))[rows >= 0]
        counts = np.bincount(owners, minlength=size)
        places = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
        grid = np.full((size, length), -1)
        near = places < length
        grid[owners[near], places[near]] = rows[rows >= 0][near]
        return grid

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays by name, for a file that `read` reads."""
        return {_PREFIX + name: getattr(self, name) for name in _stored()}

    @classmethod
    def read(cls, stored: Mapping[str, npt.NDArray[np.generic]]) -> Attention | None:
        """Return the network stored by `arrays`. None: there is none."""
        if f"{_PREFIX}keys" not in stored:
            return None
        return cls(**{name: stored[_PREFIX + name] for name in _stored()})  # type: ignore[arg-type]


def _stored() -> list[str]:
    return [f.name for f in fields(Attention) if f.init]


def _each(vectors: Floats, matrix: Floats) -> Floats:
    """(r, columns) products of the (r, d) vectors with the matrix, one by one: the last bits of a product of matrices
    depend on how many rows there are, and what is expected of a user is the same whoever shares the batch.
    """
    products: Floats = np.matmul(vectors[:, None], matrix)[:, 0]
    return products


def _normal(vectors: Floats) -> Floats:
    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(_FLAT))
