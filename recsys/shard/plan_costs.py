"""The costs of plans, measured on a shard as it was loaded: some thirty calls, tens of milliseconds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.index.base import Selects
from recsys.shard.exact import exact
from recsys.shard.plans import Costs
from recsys.shard.shard import Shard

_FEW, _MANY = 256, 4096
"""Rows scored. Between these the time grows with their number."""
_TOGETHER = 8
"""Queries scored in one call, to tell reading a row from scoring it."""
_K = 50
"""Neighbours of the shorter walk; the longer one looks for eight times its candidates."""
_WALKS, _DEEP_WALKS = 7, 3
"""Walks of each kind, each from another query: a walk that is repeated finds its nodes in the core's cache. The middle
one counts, as among scorings of other rows each time."""
_MOST_POWER = 1.3
"""The time of a walk hardly grows faster than its candidates; more than this is noise."""


def measured(shard: Shard) -> Costs:
    """With fewer than 8,192 items nothing is measured: the usual costs serve, as nearly every plan is fast."""
    rows, usual = shard.items.live_rows(), Costs.usual(shard.items.width)
    if len(rows) < 2 * _MANY:
        return usual
    rng = np.random.default_rng(7)
    queries = shard.items.vectors(rng.choice(rows, _TOGETHER))
    one = queries[:1]
    # Of this thread, for a replica is loaded beside others that search; a server's time is not this thread's.
    clock = time.perf_counter if shard.index.waits else time.thread_time

    def scoring(queries: Floats, n: int) -> float:
        some = [np.sort(rng.choice(rows, n)) for _ in range(_WALKS)]
        return _middle(lambda part: exact(shard.items, queries, part, _K), some, clock, again=True)

    def walking(walk: Callable[[Floats], object], walks: int) -> float:
        queries = shard.items.vectors(rng.choice(rows, walks))
        return _middle(walk, list(queries), clock)

    short, long, together = scoring(one, _FEW), scoring(one, _MANY), scoring(queries, _MANY)
    product = max((together - long) / ((_TOGETHER - 1) * _MANY), usual.product / 4)
    row = max((long - short) / (_MANY - _FEW) - product, usual.row / 4)
    ef = max(shard.tuning.ef_search, _K)
    near = walking(lambda query: shard.index.search(query[None], _K), _WALKS)
    far = walking(lambda query: shard.index.search(query[None], 8 * ef), _DEEP_WALKS)
    power = min(max(math.log(far / near) / math.log(8.0), 0.0), _MOST_POWER)
    costs = Costs(max(short - _FEW * (row + product), 0.0), row, product, near / ef**power, power)
    if not shard.index.selects:
        return costs
    index, shown = cast("Selects", shard.index), shard.items.alive.view.copy()
    allowed, wanted, every = index.allowed(shown), np.full(1, _K), np.ones((1, _K), bool)
    listed = walking(lambda query: index.search_allowed(query[None], _K, 8 * ef, allowed), _DEEP_WALKS)
    check = walking(
        lambda query: shard.depths.near_enough(
            query[None], (shard.items.vectors(rows[:_K]) @ query)[None], every, wanted, ef, 1
        ),
        _WALKS,
    )
    return replace(costs, listed=listed / far, check=check)


def _middle(
    call: Callable[[npt.NDArray[Any]], object],
    inputs: Sequence[npt.NDArray[Any]],
    clock: Callable[[], float],
    *,
    again: bool = False,
) -> float:
    """Seconds that the call takes, the median over the inputs. `again`: a second time, for the matches of a filter that
    is asked for often lie in the core's cache.
    """
    taken = []
    for given in inputs:
        if again:
            call(given)
        start = clock()
        call(given)
        taken.append(clock() - start)
    return statistics.median(taken)
