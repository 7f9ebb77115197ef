"""Recall of searches under filters, by the shape of the filter: some are answered again by scoring every match."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Mapping
from functools import partial

import numpy as np

from recsys.datatypes import Filter, Floats
from recsys.shard.candidates import ShardQuery
from recsys.shard.live_recall import PAUSES
from recsys.shard.pace import Pace
from recsys.shard.plans import shape
from recsys.shard.recall import Exact
from recsys.shard.shard import Shard

_K = 10
"""Neighbours compared, as for searches without a filter."""
_WINDOW = 100
"""Searches of each shape that the ratio is over."""


class FilteredRecall:
    """Of one version: one recent search under a filter, and the recall of those measured last."""

    def __init__(self) -> None:
        self._offered: tuple[Floats, Filter] | None = None
        self._measured: dict[str, deque[float]] = {}

    def offer(self, query: ShardQuery) -> None:
        """Keep one vector of the batch that was looked for under a filter, chosen at random, unless one is waiting."""
        if self._offered is not None or not any(query.filters):
            return
        filters = [query.filters[request] for request in query.vector_request.tolist()]
        places = [place for place in np.flatnonzero(query.vector_k).tolist() if filters[place] is not None]
        if places:
            place = random.choice(places)  # noqa: S311 - a sample
            given = filters[place]
            assert given is not None
            self._offered = query.vectors[place].copy(), given

    def measure(self, shard: Shard) -> float:
        """Answer the kept search both ways, if there is one. Return the CPU seconds that it took; 0.0: there is none.

        Call it in a thread: scoring takes milliseconds for each ten thousand matches.
        """
        offered, self._offered = self._offered, None
        if offered is None:
            return 0.0
        start, generation = time.thread_time(), shard.items.generation
        vector, given = offered
        exact = Exact.of([shard], vector[None], _K, given, rest=partial(Pace().rest, PAUSES))
        share = exact.recall()
        if exact.wanted.sum() and shard.items.generation == generation:  # else they were not asked of the same items
            kind = shape(shard.lists.count(given), shard.items.live)
            self._measured.setdefault(kind, deque(maxlen=_WINDOW)).append(share)
        return time.thread_time() - start

    @property
    def ratios(self) -> Mapping[str, float]:
        """Mean recall over the searches measured last, by shape; shapes that were not measured are missing."""
        return {kind: sum(shares) / len(shares) for kind, shares in self._measured.items()}
