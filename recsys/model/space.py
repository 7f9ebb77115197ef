"""The parts of a version's vectors.

                     text part              learned part
an item's vector     unit text vector       item factors             in the index
an item's context    unit text vector       context factors          what a liked item adds to a taste
a user's taste       decayed sum of texts   short sum, long sum      decayed sums of context factors
a query              weight * text          short + weight * long

A version without a model has no learned part: vector, context and taste are texts. A text query has zeros in its
learned part, so only texts count.

Item factors are divided by the version's balance and context factors are multiplied by it (see `tuning/balance.py`).
Scores stay the same, and the graph reflects both parts.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.datatypes import Floats, UserProfile, unknown_user

LONG_HALF_LIFE = 500.0
"""Half-life, in likes, of the long part of a taste: practically the whole history, with a cheap update."""


class Space(BaseModel):
    """Dimensions and weights of the parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: int
    """Dimensions of a text vector."""
    learned: int = 0
    """Dimensions of the learned part. 0: the version has no model."""
    half_life: float = 4.0
    """Likes after which a like has half the weight in the short part of a taste."""
    long_weight: float = 0.1
    """Weight of the long part of a taste in a query; the short part has weight 1."""
    text_weight: float = 1.0
    """Weight of the unit text vector in a query."""
    balance: float | None = None
    """Divisor of item factors. None: not chosen, which means 1."""

    @property
    def width(self) -> int:
        """Dimensions of items, contexts and queries."""
        return self.text + self.learned

    @property
    def taste_width(self) -> int:
        return self.text + 2 * self.learned

    def unknown_user(self) -> UserProfile:
        return unknown_user(self.taste_width, self.width)

    def parts(self, text_decay: float) -> list[tuple[slice, np.float32]]:
        """Return the parts of a taste in order: the columns of a context that a like adds to it, and the factor by
        which a further like decays it. `text_decay`: the factor of the text part.
        """
        learned = slice(self.text, self.width)
        short, long = 0.5 ** (1.0 / self.half_life), 0.5 ** (1.0 / LONG_HALF_LIFE)
        all_parts = [(slice(0, self.text), text_decay), (learned, short), (learned, long)]
        return [(part, np.float32(decay)) for part, decay in all_parts]

    def decays(self, text_decay: float) -> Floats:
        """Return (taste_width,) float32: the factor by which a further like decays each column of a taste."""
        left = [decay for _, decay in self.parts(text_decay)]
        return np.repeat(np.array(left, np.float32), [self.text, self.learned, self.learned])

    def added(self, contexts: Floats) -> Floats:
        """Return (n, taste_width) float32: what (n, width) contexts add to a taste."""
        return np.concatenate([contexts, contexts[:, self.text :]], axis=1)

    def query(self, taste: Floats) -> Floats:
        """Return the (width,) float32 query of a (taste_width,) taste."""
        text = _unit(taste[: self.text])
        if not self.learned:
            return text
        short, long = np.split(taste[self.text :], 2)
        return np.concatenate([np.float32(self.text_weight) * text, short + np.float32(self.long_weight) * long])

    def long_query(self, taste: Floats) -> Floats:
        """Return the (width,) float32 query of the long part of a taste alone, at about the scale of a context."""
        query = np.zeros(self.width, np.float32)
        query[self.text :] = _unit(taste[self.text + self.learned :]) * np.float32(self.balance or 1.0)
        return query

    def context_query(self, context: Floats) -> Floats:
        """Return the (width,) float32 query of an item's (width,) context, for related items."""
        if not self.learned:
            return context
        return np.concatenate([np.float32(self.text_weight) * context[: self.text], context[self.text :]])

    def text_query(self, text: Floats) -> Floats:
        """Return the (width,) float32 query of a (text,) text vector. It scores only texts."""
        return np.concatenate([text, np.zeros(self.learned, np.float32)]) if self.learned else text


def _unit(vector: Floats) -> Floats:
    length = np.sqrt(vector @ vector)
    return vector / np.float32(length) if length else vector
