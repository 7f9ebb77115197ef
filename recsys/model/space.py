"""What the vectors of a version are made of.

                     text               learned
an item's vector     unit text vector   item factors        indexed, and never asked with
an item's context    unit text vector   context factors     what a liked item adds to a user, and asks with
a user's taste       faded sum of texts short, long         two faded sums of context factors
a query              weight * text      short + weight * long

A version that learned nothing has no learned part: item, context and taste are one thing, the text. A text that is
searched for has zeros in its learned part, so only texts count.

Item factors are divided by the version's balance and context factors multiplied by it (see `tuning/balance.py`): scores
stay the same, and the graph is of both parts.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.datatypes import Floats, UserProfile, unknown_user

LONG_HALF_LIFE = 500.0
"""Likes: in effect the whole history, and still one cheap update."""


class Space(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: int
    """Dimensions of a text vector."""
    learned: int = 0
    """Dimensions of the learned part; 0: the version learned nothing."""
    half_life: float = 4.0
    """Likes after which a like counts half in the short part of the taste."""
    long_weight: float = 0.1
    """Weight of the long part of the taste beside the short one."""
    text_weight: float = 1.0
    """Weight of the text, as a unit vector, beside the learned part."""
    balance: float | None = None
    """What item factors are divided by; None: not chosen, which is as 1."""

    @property
    def width(self) -> int:
        """Of items, contexts and queries."""
        return self.text + self.learned

    @property
    def taste_width(self) -> int:
        return self.text + 2 * self.learned

    def unknown_user(self) -> UserProfile:
        return unknown_user(self.taste_width, self.width)

    def parts(self, text_decay: float) -> list[tuple[slice, np.float32]]:
        """The parts of a taste in their order: columns of a context that a like adds there, and what is left of the
        part after one more like.
        """
        learned = slice(self.text, self.width)
        short, long = 0.5 ** (1.0 / self.half_life), 0.5 ** (1.0 / LONG_HALF_LIFE)
        all_parts = [(slice(0, self.text), text_decay), (learned, short), (learned, long)]
        return [(part, np.float32(decay)) for part, decay in all_parts]

    def decays(self, text_decay: float) -> Floats:
        """(taste_width,) float32: what is left of each part of a taste after one more like."""
        left = [decay for _, decay in self.parts(text_decay)]
        return np.repeat(np.array(left, np.float32), [self.text, self.learned, self.learned])

    def added(self, contexts: Floats) -> Floats:
        """(n, width) contexts -> (n, taste_width), what each adds to a taste."""
        return np.concatenate([contexts, contexts[:, self.text :]], axis=1)

    def query(self, taste: Floats) -> Floats:
        """(taste_width,) -> (width,) float32."""
        text = _unit(taste[: self.text])
        if not self.learned:
            return text
        short, long = np.split(taste[self.text :], 2)
        return np.concatenate([np.float32(self.text_weight) * text, short + np.float32(self.long_weight) * long])

    def long_query(self, taste: Floats) -> Floats:
        """(width,) float32: the long part of a taste alone, over the likes that it is made of, nearly."""
        query = np.zeros(self.width, np.float32)
        query[self.text :] = _unit(taste[self.text + self.learned :]) * np.float32(self.balance or 1.0)
        return query

    def context_query(self, context: Floats) -> Floats:
        """(width,) -> (width,) float32: an item's context as a query for what goes with it."""
        if not self.learned:
            return context
        return np.concatenate([np.float32(self.text_weight) * context[: self.text], context[self.text :]])

    def text_query(self, text: Floats) -> Floats:
        """(text,) -> (width,) float32: scores texts alone."""
        return np.concatenate([text, np.zeros(self.learned, np.float32)]) if self.learned else text


def _unit(vector: Floats) -> Floats:
    length = np.sqrt(vector @ vector)
    return vector / np.float32(length) if length else vector
