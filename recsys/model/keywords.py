"""Attribute affinity: the similarity of an item's keywords (genres, brands, authors) to those of the last likes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.config.platform import AttributeType
from recsys.datatypes import Floats, Item, Rows
from recsys.model.sparse_sums import Weighed

HALF_LIFE = 10.0
"""Likes after which a like's keywords have half the weight. On MovieLens 100K's validation 3 to 100 are equal."""
_VALUES = 20_000
"""Most keywords, the most frequent ones."""
_CELLS = 1 << 21
"""Requests times keywords computed at a time: 8 MB."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Keywords of a version's items.

    `table`: (S, V) sparse float32, a row of length 1 or 0 for each item of the version, in the order of keys. `own`:
    (n,) int64, the rows of one shard's items by slot.
    """

    table: sp.csr_array
    own: Rows

    def scores(self, likes: Weighed, requests: Rows, slots: Rows) -> Floats:
        """Return (n,) float32 in 0..1: the cosine of each candidate's keywords to those of its request's likes.

        `likes`: the weight of each liked item, for B requests. A slot of -1, an item added later, scores 0.
        """
        cosines = np.zeros(len(slots), np.float32)
        placed = np.flatnonzero(slots >= 0)
        step = max(_CELLS // max(self.table.shape[1], 1), 1)
        size = len(likes.offsets) - 1
        for first in range(0, size, step):
            tastes = likes.part(first, min(first + step, size)).sums(self.table)
            tastes /= np.maximum(np.linalg.norm(tastes, axis=1, keepdims=True), 1e-9)
            part = placed[(requests[placed] >= first) & (requests[placed] < first + step)]
            cosines[part] = self._cosines(tastes, requests[part] - first, self.own[slots[part]])
        return cosines

    def _cosines(self, tastes: Floats, requests: Rows, rows: Rows) -> Floats:
        """Return (n,) float32 inner products of rows of the table with their requests' tastes."""
        starts = self.table.indptr[rows]
        sizes = self.table.indptr[rows + 1] - starts
        owners = np.repeat(np.arange(len(rows)), sizes)
        at = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(owners))
        parts = tastes[requests[owners], self.table.indices[at]] * self.table.data[at]
        return np.bincount(owners, parts, len(rows)).astype(np.float32)


def keyword_table(items: Sequence[Item], kinds: Iterable[tuple[str, AttributeType]]) -> sp.csr_array:
    """Return (n, V) sparse float32 rows of length 1: each item's keywords, weighted by log(n / number of items with it)
    (Spärck Jones 1972).

    Keywords of a single item, and of all items, are left out: they relate no items.
    """
    declared = [key for key, kind in kinds if kind in ("keyword", "keyword[]")]
    codes: dict[tuple[str, str], int] = {}
    columns, ends = array("i"), array("q", [0])  # millions of items have tens of millions of words
    for item in items:
        pairs = sorted({(key, word) for key in declared for word in _words(item, key)})
        columns.extend(codes.setdefault(word, len(codes)) for word in pairs)
        ends.append(len(columns))
    counts = np.bincount(np.asarray(columns, np.int64), minlength=len(codes))
    frequent = sorted(codes, key=lambda word: (-counts[codes[word]], word))[:_VALUES]
    keywords = sorted(word for word in frequent if 1 < counts[codes[word]] < len(items))
    kept = np.array([codes[word] for word in keywords], np.int64)
    parts = (np.ones(len(columns), np.float32), np.asarray(columns, np.int32), np.asarray(ends, np.int32))
    table = sp.csr_array(parts, (len(items), len(codes)))[:, kept]
    rarity = np.log(len(items) / counts[kept]).astype(np.float32)
    table.sort_indices()
    table.data *= rarity[table.indices]
    owners = np.repeat(np.arange(len(items)), np.diff(table.indptr))
    lengths = np.sqrt(np.bincount(owners, table.data**2, len(items)))
    table.data /= lengths[owners].astype(np.float32)
    return sp.csr_array(table)


def _words(item: Item, key: str) -> Sequence[str]:
    value = item.attributes.get(key)
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []
