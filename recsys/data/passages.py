"""The texts of a catalogue, without all of them in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from recsys.data.made_on_demand import MadeOnDemand
from recsys.datatypes import Item, Rows

_BLOCK = 1 << 14
"""Items looked at at a time."""
_DIGEST = 16
"""Bytes of a hash that stands for a text: two of 10^12 texts share one with a probability of 1e-15."""


class Passages(MadeOnDemand[str]):
    """What the encoder reads of the items at (n,) places."""

    def __init__(self, items: Sequence[Item], places: Rows) -> None:
        self._items, self._places = items, places

    def __len__(self) -> int:
        return len(self._places)

    def made(self, places: Rows) -> list[str]:
        own = self._places[places].tolist()
        if own and own[-1] - own[0] == len(own) - 1:  # nearly always; items are made faster together
            return [item.passage() for item in self._items[own[0] : own[-1] + 1]]
        return [self._items[place].passage() for place in own]


def first_places(items: Sequence[Item]) -> Rows:
    """(n,) int64: for each item the place of the first one with the same text."""
    high, low = np.empty(len(items), np.uint64), np.empty(len(items), np.uint64)
    for start in range(0, len(items), _BLOCK):
        block = [_digest(item.passage()) for item in items[start : start + _BLOCK]]
        words = np.frombuffer(b"".join(block), np.uint64).reshape(-1, 2)
        high[start : start + len(words)], low[start : start + len(words)] = words.T
    first = np.arange(len(items))
    if len(items) < 2:
        return first
    order = np.lexsort((low, high))  # stable: of equal texts the first item stands first
    fresh = np.ones(len(items), bool)
    fresh[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    first[order] = order[fresh][np.cumsum(fresh) - 1]
    return first


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_DIGEST).digest()
