"""Recall of the searches that are served: some are answered again, exactly, and the two answers are compared."""

from __future__ import annotations

import random
import time
from collections import deque

import numpy as np

from recsys.datatypes import Floats
from recsys.shard.candidates import ShardQuery
from recsys.shard.recall import Exact
from recsys.shard.shard import Shard

K = 10
"""Neighbours compared: what `recall_at_10` of a published version compares."""
_WINDOW = 200
"""Searches that the ratio is over: at a recall of 0.95 its standard error is then 0.005."""


class LiveRecall:
    """Of one version: the vector of one recent search, and the recall of those measured last."""

    def __init__(self) -> None:
        self._offered: Floats | None = None
        self._measured: deque[float] = deque(maxlen=_WINDOW)

    def offer(self, query: ShardQuery) -> None:
        """Keep one vector of the batch that was walked for, chosen at random, unless one is waiting to be measured."""
        if self._offered is None and (walked := np.flatnonzero(query.vector_k)).size:
            self._offered = query.vectors[random.choice(walked.tolist())].copy()  # noqa: S311 - a sample

    def measure(self, shard: Shard) -> float:
        """Answer the kept search both ways, if there is one. Return the CPU seconds that it took.

        Call it in a thread: the product over all items takes milliseconds for each ten thousand.
        """
        vector, self._offered = self._offered, None
        if vector is None:
            return 0.0
        start, generation = time.thread_time(), shard.items.generation
        exact = Exact.of([shard], vector[None], K)
        share = exact.recall()
        if exact.wanted.sum() and shard.items.generation == generation:  # else they were not asked of the same items
            self._measured.append(share)
        return time.thread_time() - start

    @property
    def ratio(self) -> float | None:
        """Mean recall over the searches measured last; None before the first."""
        return sum(self._measured) / len(self._measured) if self._measured else None
