"""Recall of the searches that are served: some are answered again, exactly, and the two answers are compared."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats, Rows
from recsys.shard.candidates import ShardQuery
from recsys.shard.pace import Pace
from recsys.shard.recall import Exact
from recsys.shard.recall_control import Sample
from recsys.shard.sampled_recall import sampled_rows, shares
from recsys.shard.shard import Shard

K = 10
"""Neighbours compared: what `recall_at_10` of a published version compares."""
_WINDOW = 200
"""Searches that the ratio is over: at a recall of 0.95 its standard error is then 0.005."""
_KEPT = 32
"""Searches that wait to be measured together: one product over all items costs hardly more for them than for one."""
MOST_ROWS = 1 << 20
"""Rows that a measurement scores: of a larger shard it samples others each time."""
_LEAST_SHARE = 0.1
"""Least share of the rows that it samples all the same. Of fewer, one miss would stand for more than ten neighbours,
and no share of a search could say so."""
_UNCHANGED = 0.001
"""A measurement counts while no more than this share of the rows came or went during it: to that a search then owes
less than a hundredth of one of its ten neighbours."""
PAUSES = 2.0
"""Pauses of a measurement, in the time of the work between them: 40,000 rows of 384 dimensions are 50 ms of work, which
searches would otherwise wait for, some milliseconds at a time."""


@dataclass(frozen=True, slots=True)
class _Offered:
    """One vector of a search: (d,) float32, with the candidates asked for."""

    vector: Floats
    k: int
    floor: float
    """What its scenario asks of recall; 0.0: nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Searches that were answered again at one `ef_search`, and the CPU seconds that it took."""

    samples: Sequence[Sample] = ()
    effort: int = 0
    spent_s: float = 0.0


class LiveRecall:
    """Of one version: a random sample of its searches, and the recall of those measured last."""

    def __init__(self) -> None:
        self._measured: deque[float] = deque(maxlen=_WINDOW)
        self._begin()

    def _begin(self) -> None:
        """Sample anew, by algorithm L (Li 1994): each search since now is kept with the same probability, and only the
        next one to be kept is drawn, so that a batch costs a comparison.
        """
        self._kept: list[_Offered] = []
        self._seen, self._next, self._rarity = 0, 0, 1.0

    def offer(self, query: ShardQuery) -> None:
        """Keep those of the batch's vectors that the sample falls on."""
        begin = self._seen
        self._seen += int(np.count_nonzero(query.vector_k))
        if self._next >= self._seen:
            return
        walked = np.flatnonzero(query.vector_k)
        while self._next < self._seen:
            self._keep(query, int(walked[self._next - begin]))

    def _keep(self, query: ShardQuery, place: int) -> None:
        floors = query.recall_floors
        floor = floors[int(query.vector_request[place])] if floors else 0.0
        offered = _Offered(query.vectors[place].copy(), max(int(query.vector_k[place]), K), floor)
        if len(self._kept) < _KEPT:
            self._kept.append(offered)
        else:
            self._kept[random.randrange(_KEPT)] = offered  # noqa: S311 - a sample
        self._next += 1
        if len(self._kept) == _KEPT:
            self._rarity *= math.exp(math.log(1.0 - random.random()) / _KEPT)  # noqa: S311
            self._next += int(math.log(1.0 - random.random()) / math.log1p(-self._rarity))  # noqa: S311

    def measure(self, shard: Shard) -> Measured:
        """Answer the kept searches both ways, if there are any.

        Call it in a thread: the product over a million items at the most takes milliseconds for each ten thousand.
        """
        kept = self._kept
        if not kept:
            return Measured()
        self._begin()
        start, before, effort = time.thread_time(), _changes(shard), shard.tuning.ef_search
        vectors = np.stack([offered.vector for offered in kept])
        found = _shares(shard, vectors, np.array([offered.k for offered in kept], np.int64))
        # Otherwise the two searches were not asked of the same items, or both were exact.
        alike = _changes(shard) - before <= _UNCHANGED * len(shard.items) and not shard.index.away
        samples = [
            Sample(share, offered.floor)
            for offered, share in zip(kept, found.tolist(), strict=True)
            if alike and not math.isnan(share)
        ]
        self._measured.extend(sample.recall for sample in samples)
        return Measured(samples, effort, time.thread_time() - start)

    @property
    def ratio(self) -> float | None:
        """Mean recall over the searches measured last; None before the first."""
        return sum(self._measured) / len(self._measured) if self._measured else None


def _shares(shard: Shard, vectors: Floats, asked: Rows) -> npt.NDArray[np.float64]:
    """(m,) recall of each search; NaN where nothing could be found."""
    rows, rest = shard.items.live_rows(), partial(Pace().rest, PAUSES)
    if len(rows) > MOST_ROWS:
        most = max(MOST_ROWS, math.ceil(_LEAST_SHARE * len(rows)))
        some = sampled_rows(rows, most, random.randrange(1 << 32))  # noqa: S311 - a sample
        return np.maximum(shares(shard, vectors, some, K, asked, rest), 0.0)
    exact = Exact.of([shard], vectors, K, asked=asked, rest=rest)
    return np.where(exact.wanted > 0, exact.found() / np.maximum(exact.wanted, 1), np.nan)


def _changes(shard: Shard) -> int:
    """Rows that have come or gone."""
    rows = len(shard.items)
    return 2 * rows - shard.items.live
