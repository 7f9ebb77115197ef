"""Allow-lists: for a filter the vectors of the index that a walk may return, kept while the table grows.

A list only grows: what no longer matches or was deleted is dropped from the answer of a walk. So a change of the table
costs a list the rows that came.
"""

from __future__ import annotations

import threading
from typing import cast

from cachetools import LRUCache

from recsys.datatypes import Filter
from recsys.index.base import Allowed, Selects, VectorIndex
from recsys.shard.row_lists import RowLists

_BYTES = 16 << 20
"""A list of a million vectors takes 125 kB."""


class AllowLists:
    """May be called by many threads. Of an index that `selects`."""

    def __init__(self, lists: RowLists, index: VectorIndex) -> None:
        self._lists, self._index = lists, cast("Selects", index)
        self._lock = threading.Lock()
        self._kept: LRUCache[Filter, Allowed] = LRUCache(_BYTES, getsizeof=lambda allowed: allowed.bits.nbytes + 200)

    def of(self, given: Filter) -> Allowed:
        """Of all rows that match, whether they are alive or not."""
        mask = self._lists.mask(given)
        with self._lock:
            kept = self._kept.get(given)
        if kept is not None and kept.rows >= len(mask):
            return kept
        allowed = self._index.allowed(mask, kept)
        with self._lock:
            if allowed.bits.nbytes + 200 <= _BYTES:
                self._kept[given] = allowed
        return allowed
