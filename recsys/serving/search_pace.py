"""Which searches are done in the event loop itself: those that are over before they keep it from its calls.

Another thread is woken on another core, whose caches have neither the code nor the columns. For a batch of eight that
took as much CPU as its search (docs/benchmarks.md).
"""

from __future__ import annotations

import time

import numpy as np

from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.rule_matches import known
from recsys.shard.search import search
from recsys.shard.shard import Shard

_FEW = 4
"""Walks that are always done at once, and of which nothing is measured: that would take two hundredths of a search."""
_AT_ONCE_S = 0.005
"""Seconds of CPU that a search in the event loop may take: as long as Python lets a thread keep others waiting."""
_WALK_S = 0.0002
"""Of a walk, with all that is done for it, before any was measured."""
_NEWEST = 0.05
"""Share of the newest search in the mean."""


class SearchPace:
    """Of one replica: what its searches take for each of their walks."""

    def __init__(self) -> None:
        self._walk_s = _WALK_S

    def at_once(self, shard: Shard, query: ShardQuery) -> bool:
        """Whether the event loop itself may do it. What a filter takes nobody knows before, nor what a rule does that
        was not asked for since the shard changed.
        """
        walks = _walks(query)
        return (walks <= _FEW or walks * self._walk_s <= _AT_ONCE_S) and not any(query.filters) and known(shard, query)

    def search(self, shard: Shard, query: ShardQuery) -> CandidateSet:
        """The search itself, in whichever thread does it."""
        walks = _walks(query)
        if walks <= _FEW or any(query.filters) or not known(shard, query):
            return search(shard, query)
        start = time.thread_time()
        candidates = search(shard, query)
        self.note(walks, time.thread_time() - start)
        return candidates

    def note(self, walks: int, cpu_s: float) -> None:
        """Walks were done, which took their thread so many seconds of CPU with all around them."""
        self._walk_s += _NEWEST * (cpu_s / walks - self._walk_s)


def _walks(query: ShardQuery) -> int:
    return int(np.count_nonzero(query.vector_k))
