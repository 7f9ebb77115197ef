"""Self-attention over the last likes: what comes next, by a network of one block (Kang and McAuley 2018,
"Self-Attentive Sequential Recommendation").

Only the newest like asks, so what it asks and what it is told can each be one product with a matrix that training folds
from several: an answer costs about the same however many likes are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from recsys.columns import find
from recsys.datatypes import Floats, Keys, Rows

_PREFIX = "attention_"
_FLAT = 1e-5
"""Keeps a vector without variance from being divided by 0, as in PyTorch's LayerNorm."""


@dataclass(frozen=True, slots=True)
class Attention:
    """A network of H heads that knows V items by d numbers each, and reads L likes; all float32 but `keys`.

    `keys` is (V,) uint64, sorted; `items` (V, d), `mean` (d,) theirs. With x_l the vectors of the likes times the root
    of d, newest first, and n_l those normalised: a = softmax((n_0 @ ask + ask_bias) . n_l + place[:, l]) of each head;
    z = x_0 + (sum of a_l n_l) @ tell + tell_bias; y = z + relu(norm(z) @ wide + wide_bias) @ narrow + narrow_bias. The
    inner product of norm(y) * gain + shift with an item, less that with the mean, is its score.
    """

    keys: Keys
    items: Floats
    mean: Floats
    ask: Floats
    """(d, H * d): the products of query and key matrices."""
    ask_bias: Floats
    place: Floats
    """(H, L): what nearness counts."""
    tell: Floats
    """(H * d, d): the products of value and output matrices."""
    tell_bias: Floats
    wide: Floats
    wide_bias: Floats
    narrow: Floats
    narrow_bias: Floats
    gain: Floats
    shift: Floats

    def find(self, keys: Keys) -> Rows:
        """(n,) rows of `items`; -1: not known."""
        return find(self.keys, keys)

    def expected(self, trail: Keys, trail_offsets: Rows) -> tuple[Rows, Floats, Floats]:
        """(r,) requests of whose likes some are known, (r, d) vectors of what they expect, (r,) scores of the average
        item, which are to be taken off.

        `trail` is (t,), newest first, those of request b at `trail_offsets[b]:trail_offsets[b + 1]`.
        """
        likes = self._grid(self.find(trail), trail_offsets)
        asking = np.flatnonzero(likes[:, 0] >= 0)
        likes = likes[asking]
        heads, size = len(self.place), self.items.shape[1]
        vectors = self.items[likes] * np.float32(np.sqrt(size))
        likened = _normal(vectors)
        questions = (likened[:, 0] @ self.ask + self.ask_bias).reshape(-1, heads, size)
        heed = questions @ likened.transpose(0, 2, 1) + self.place
        heed[np.broadcast_to((likes < 0)[:, None], heed.shape)] = -np.inf
        heed = np.exp(heed - heed.max(axis=2, keepdims=True))
        heed /= heed.sum(axis=2, keepdims=True)
        told = (heed @ likened).reshape(-1, heads * size) @ self.tell + self.tell_bias
        state = vectors[:, 0] + told
        state += np.maximum(_normal(state) @ self.wide + self.wide_bias, 0.0) @ self.narrow + self.narrow_bias
        wanted: Floats = _normal(state) * self.gain + self.shift
        average: Floats = wanted @ self.mean
        return asking, wanted, average

    def scores(self, trail: Keys, trail_offsets: Rows, offsets: Rows, rows: Rows) -> Floats:
        """(n,) of candidates at `rows`, request b's at `offsets[b]:offsets[b + 1]`. An item that is not known (-1)
        scores 0, as the average item does, and so does every item where no like is known.
        """
        scores = np.zeros(len(rows), np.float32)
        vectors = self.items[rows]
        for b, wanted, average in zip(*self.expected(trail, trail_offsets), strict=True):
            mine = slice(offsets[b], offsets[b + 1])
            scores[mine] = vectors[mine] @ wanted - average
        scores[rows < 0] = 0.0
        return scores

    def _grid(self, rows: Rows, offsets: Rows) -> Rows:
        """(B, L) the known likes, newest first, then -1."""
        size, length = len(offsets) - 1, self.place.shape[1]
        owners = np.repeat(np.arange(size), np.diff(offsets))[rows >= 0]
        counts = np.bincount(owners, minlength=size)
        places = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
        grid = np.full((size, length), -1)
        near = places < length
        grid[owners[near], places[near]] = rows[rows >= 0][near]
        return grid

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """For a file of several arrays; see `read`."""
        return {_PREFIX + f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def read(cls, stored: Mapping[str, npt.NDArray[np.generic]]) -> Attention | None:
        """What `arrays` gave; None: nothing."""
        if f"{_PREFIX}keys" not in stored:
            return None
        return cls(**{f.name: stored[_PREFIX + f.name] for f in fields(cls)})  # type: ignore[arg-type]


def _normal(vectors: Floats) -> Floats:
    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(_FLAT))
