"""Equal items: items with the same title, the same text and the same vector.

They are variants of one product, or entries made twice, and no signal tells them apart. A slate shows other items
before it shows the second of them. An item without title and text is equal to no other: nothing says what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.columns import Column, find
from recsys.datatypes import KEY_BITS, Floats, Item, Keys, Rows

_SAME_TEXT = 0.98
"""Least cosine of two vectors of the same text. With int8 activations a vector depends a little on the texts in its
batch: the cosine between a text encoded alone and in a batch is 0.9988 on average."""
_BLOCK = 1 << 16
"""Rows whose keys are made at a time."""
_STEP = 16.0
"""Steps per unit by which projections of learned parts are rounded. Parts in the same step count as equal."""


@dataclass(frozen=True, slots=True)
class TwinColumns:
    """What `Twins` makes of n rows at once, of which m have a title and text that no row before them has.

    `keys` (n,) uint64 and `several` (n,) bool: see `Twins`. `contents` (m,) uint64: sorted hashes of title and text;
    `firsts` (m,) int32: the first row with each.
    """

    keys: Keys
    several: npt.NDArray[np.bool_]
    contents: Keys
    firsts: npt.NDArray[np.int32]

    @classmethod
    def of(cls, contents: Keys, learned: Floats) -> TwinColumns:
        """`contents`: see `content_hashes`. `learned`: (n, learned) parts of the vectors, a map of them will do."""
        project = _projection(learned.shape[1])
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(contents), _BLOCK)]
        keys = [_keys(contents[block], np.asarray(learned[block], np.float32), project) for block in blocks]
        order = np.argsort(contents, kind="stable").astype(np.int32)
        ordered = contents[order]
        again = np.zeros(len(contents), bool)
        again[1:] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
        repeats = again.copy()
        repeats[:-1] |= again[1:]
        several = np.zeros(len(contents), bool)
        several[order[repeats]] = True
        keep = ~again & (ordered != 0)
        return cls(np.concatenate([contents[:0], *keys]), several, ordered[keep], order[keep])


class Twins:
    """Columns over a shard's rows. `keys` is (n,) uint64 of 48 bits, the same for equal items in every shard of a
    version; 0: equal to no item.
    """

    def __init__(self, learned: int) -> None:
        """`learned`: dimensions of the learned part of a vector."""
        self.keys = Column(np.uint64)
        self.several = Column(np.bool_)
        """(n,) whether another row has, or had, the same title and text."""
        self.any = False
        """Whether `several` holds for any row."""
        self._contents: tuple[Keys, npt.NDArray[np.int32]] = np.zeros(0, np.uint64), np.zeros(0, np.int32)
        """Sorted hashes of title and text, and the first row with each. Of the rows that `adopt` took."""
        self._later: dict[int, int] = {}
        """The same for rows that came later."""
        self._contents_of: dict[int, int] = {}
        """By such a first row, the hash."""
        self._project = _projection(learned)

    def adopt(self, columns: TwinColumns) -> None:
        """Take over the rows of a snapshot."""
        self.keys.adopt(columns.keys)
        self.several.adopt(columns.several)
        self.any = bool(columns.several.any())
        self._contents = columns.contents, columns.firsts

    def firsts(self, items: Sequence[Item]) -> Rows:
        """(n,) int64: the first row with the item's title and text; -1: there is none."""
        return self._firsts(content_hashes(items))

    def _firsts(self, contents: Keys) -> Rows:
        stored, rows = self._contents
        at = find(stored, contents)
        firsts = np.where(at < 0, np.int64(-1), rows[at]) if len(rows) else at
        for i in np.flatnonzero(firsts < 0).tolist():
            firsts[i] = self._later.get(int(contents[i]), -1)
        return firsts

    def append(self, items: Sequence[Item], learned: Floats) -> None:
        """Add rows. `learned`: (n, learned) float32 parts of their vectors."""
        contents, start = content_hashes(items), len(self.keys)
        # With a learned part one by one: the last bits of a product depend on how many rows it has, and replicas must
        # agree.
        step = 1 if learned.shape[1] else max(len(contents), 1)
        for at in range(0, len(contents), step):
            self.keys.extend(_keys(contents[at : at + step], learned[at : at + step], self._project))
        self.several.extend(np.zeros(len(contents), bool))
        several, known = self.several.view, self._firsts(contents).tolist()
        for row, (content, before) in enumerate(zip(contents.tolist(), known, strict=True), start):
            first = before if before >= 0 else self._later.get(content, -1)  # of this call
            if first >= 0:
                several[[row, first]] = self.any = True
            elif content:
                self._later[content] = row
                self._contents_of[row] = content

    def forget(self, rows: Rows) -> Rows:
        """Let rows of items that are gone not be the first with their title and text, unless others have these as well.
        Return those that nobody asks for any more.
        """
        rows = rows[~self.several.view[rows]]
        for row in rows.tolist():
            if (content := self._contents_of.pop(row, None)) is not None:
                del self._later[content]
        return rows

    def agreed(self, items: Sequence[Item], texts: Floats, of_rows: Callable[[Rows], Floats]) -> Floats:
        """(n, d) text vectors, equal where title and text are. `of_rows`: gives those of rows.

        One by one: an item may have the text of one before it in the same call.
        """
        equal_rows = self.firsts(items)
        places: dict[tuple[str, str], int] = {}
        agreed = texts.copy()
        for place, item in enumerate(items):
            if not (item.title or item.text):
                continue
            if equal_rows[place] >= 0:
                earlier = of_rows(equal_rows[place : place + 1])[0]
            else:
                first = places.setdefault((item.title, item.text), place)
                if first == place:
                    continue
                earlier = agreed[first]
            agreed[place] = self.settled(earlier, texts[place])
        return agreed

    def settled(self, first: Floats, vector: Floats) -> Floats:
        """The (d,) text vector of an item whose title and text an earlier item has.

        It is the earlier item's vector `first`, unless the two differ too much to be of the same text.
        """
        apart = first - vector  # the squared distance of unit vectors is 2 - 2 * cosine
        return first if apart @ apart <= (2 - 2 * _SAME_TEXT) * (first @ first) else vector

    def parted(self, rows: Rows) -> tuple[Rows, Rows]:
        """Split (n,) rows, in their order: those without an equal row before them, and the others."""
        later = repeated(np.zeros(len(rows), np.int64), self.keys.view[rows])
        return rows[~later], rows[later]


def _projection(learned: int) -> Floats:
    """(learned, 4) directions along which learned parts are compared."""
    return np.random.default_rng(11).choice(np.array([-1, 1], np.float32), (learned, 4))


def _keys(contents: Keys, learned: Floats, project: Floats) -> Keys:
    steps = np.rint(learned @ project * np.float32(_STEP)).astype(np.int64).view(np.uint64)
    mixed = contents + steps @ _ODD
    mixed ^= mixed >> np.uint64(29)
    return np.where(contents == 0, np.uint64(0), np.maximum(mixed & _MASK, np.uint64(1)))


_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)
"""Odd numbers with many bits, as hashes of integers multiply with (Steele et al. 2014)."""
_MASK = np.uint64((1 << KEY_BITS) - 1)


def content_hashes(items: Sequence[Item]) -> Keys:
    """(n,) uint64 hashes of title and text; 0: the item has neither."""
    hashes = np.zeros(len(items), np.uint64)
    for i, item in enumerate(items):
        if item.title or item.text:
            content = f"{len(item.title)}:{item.title}{item.text}".encode(errors="surrogatepass")
            hashes[i] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
    return hashes


def any_repeated(groups: Rows, keys: Keys) -> bool:
    """Whether a key other than 0 occurs twice in a group."""
    ordered = _grouped(groups, keys)
    ordered.sort()
    same = ordered[1:] == ordered[:-1]
    return bool(np.count_nonzero(same)) and bool((same & ((ordered[1:] & _MASK) != 0)).any())


def repeated(groups: Rows, keys: Keys) -> npt.NDArray[np.bool_]:
    """(n,) bool: keys that occurred before in the same group. A key of 0 never counts as repeated."""
    again = np.zeros(len(keys), bool)
    if not any_repeated(groups, keys):
        return again
    tagged = _grouped(groups, keys)
    order = np.argsort(tagged, kind="stable")
    again[order[1:]] = tagged[order[1:]] == tagged[order[:-1]]
    return again & (keys != 0)


def _grouped(groups: Rows, keys: Keys) -> Keys:
    return (groups.astype(np.uint64) << np.uint64(KEY_BITS)) | keys
