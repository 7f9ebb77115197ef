"""Equal items: those that nothing a version knows tells apart.

They have the same title, the same text and the same vector: variants of one product, or entries made twice. A slate
shows one of them before it shows another. Items without title and text are equal to none: nothing says what they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.columns import Column, find
from recsys.datatypes import KEY_BITS, Floats, Item, Keys, Rows

_SAME_TEXT = 0.98
"""Cosine from which on two vectors are of one text. With int8 activations the vector of a text depends a little on the
texts that it was encoded with: 0.9988 on average between alone and in company."""
_STEP = 16.0
"""Steps per unit of the projections that tell learned parts apart."""


class Twins:
    """By row: `keys` (n,) uint64 of 48 bits, the same for equal items in every shard of a version; 0: equal to none."""

    def __init__(self, learned: int) -> None:
        """`learned`: dimensions of the learned part of a vector."""
        self.keys = Column(np.uint64)
        self.several = Column(np.bool_)
        """Whether another row had the same title and text when this one came, or came later with the same."""
        self.any = False
        """Whether that holds for some row."""
        self._contents: tuple[Keys, Rows] = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        """Of the rows that came first: sorted hashes of title and text, and their rows."""
        self._later: dict[int, int] = {}
        self._project = np.random.default_rng(11).choice(np.array([-1, 1], np.float32), (learned, 4))

    def adopt(self, items: Sequence[Item], learned: Floats) -> None:
        """The first rows."""
        contents = _contents(items)
        self.keys.extend(self._keys(contents, learned))
        order = np.argsort(contents, kind="stable")
        ordered = contents[order]
        again = np.zeros(len(items), bool)
        again[1:] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
        several = again.copy()
        several[:-1] |= again[1:]
        flags = np.zeros(len(items), bool)
        flags[order] = several
        self.several.extend(flags)
        self.any = bool(flags.any())
        keep = ~again & (ordered != 0)
        self._contents = ordered[keep], order[keep]

    def firsts(self, items: Sequence[Item]) -> Rows:
        """(n,) the first row with the item's title and text; -1: there is none."""
        return self._firsts(_contents(items))

    def _firsts(self, contents: Keys) -> Rows:
        known, rows = self._contents
        at = find(known, contents)
        found = np.where(at < 0, -1, rows[at]) if len(rows) else at
        for i in np.flatnonzero(found < 0).tolist():
            found[i] = self._later.get(int(contents[i]), -1)
        return found

    def append(self, items: Sequence[Item], learned: Floats) -> None:
        contents = _contents(items)
        # One by one: the last bits of a product depend on how many rows it has, and replicas must agree.
        for content, part in zip(contents, learned, strict=True):
            row = len(self.keys)
            first = int(self._firsts(content[None])[0])
            self.keys.extend(self._keys(content[None], part[None]))
            self.several.extend([first >= 0])
            if first >= 0:
                self.several.view[first] = self.any = True
            elif content:
                self._later[int(content)] = row

    def settled(self, first: Floats, vector: Floats) -> Floats:
        """The vector of a text, where an earlier item has the text: that item's, unless the two are of other texts."""
        apart = first - vector  # of unit vectors, whose distance squared is 2 - 2 * cosine
        return first if apart @ apart <= (2 - 2 * _SAME_TEXT) * (first @ first) else vector

    def parted(self, rows: Rows) -> tuple[Rows, Rows]:
        """Rows in their order: without those whose equal came before, and those."""
        later = repeated(np.zeros(len(rows), np.int64), self.keys.view[rows])
        return rows[~later], rows[later]

    def _keys(self, contents: Keys, learned: Floats) -> Keys:
        steps = np.rint(learned @ self._project * np.float32(_STEP)).astype(np.int64).view(np.uint64)
        mixed = contents + steps @ _ODD
        mixed ^= mixed >> np.uint64(29)
        return np.where(contents == 0, np.uint64(0), np.maximum(mixed & _MASK, np.uint64(1)))


_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)
"""Odd numbers with many bits, as hashes of integers multiply with (Steele et al. 2014)."""
_MASK = np.uint64((1 << KEY_BITS) - 1)


def _contents(items: Sequence[Item]) -> Keys:
    """(n,) uint64 of title and text; 0: neither."""
    made = np.zeros(len(items), np.uint64)
    for i, item in enumerate(items):
        if item.title or item.text:
            told = f"{len(item.title)}:{item.title}{item.text}".encode(errors="surrogatepass")
            made[i] = int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")
    return made


def any_repeated(groups: Rows, keys: Keys) -> bool:
    """Whether a key, other than 0, stands twice in a group."""
    ordered = np.sort(_grouped(groups, keys))
    same = ordered[1:] == ordered[:-1]
    return bool(same.any() and (same & ((ordered[1:] & _MASK) != 0)).any())


def repeated(groups: Rows, keys: Keys) -> npt.NDArray[np.bool_]:
    """(n,) which come after another of the same group and the same key; a key of 0 is like none."""
    again = np.zeros(len(keys), bool)
    if not any_repeated(groups, keys):
        return again
    tagged = _grouped(groups, keys)
    order = np.argsort(tagged, kind="stable")
    again[order[1:]] = tagged[order[1:]] == tagged[order[:-1]]
    return again & (keys != 0)


def _grouped(groups: Rows, keys: Keys) -> Keys:
    return (groups.astype(np.uint64) << np.uint64(KEY_BITS)) | keys
