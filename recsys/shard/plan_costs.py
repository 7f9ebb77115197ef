"""The costs of plans, measured on a shard as it was loaded: some ten calls, a few milliseconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from recsys.datatypes import Floats
from recsys.shard.exact import exact
from recsys.shard.plans import Costs
from recsys.shard.shard import Shard

_FEW, _MANY = 256, 4096
"""Rows scored. Between these the time grows with their number."""
_TOGETHER = 8
"""Queries scored in one call, to tell reading a row from scoring it."""
_K = 50
"""Neighbours of the shorter walk; the longer one looks for eight times its candidates."""
_WALKED = 2
"""Queries walked for."""
_ROUNDS = 3
"""The fastest of so many counts."""


def measured(shard: Shard) -> Costs:
    """With fewer than 8,192 items nothing is measured: the usual costs serve, as nearly every plan is fast."""
    rows = shard.items.live_rows()
    if len(rows) < 2 * _MANY:
        return Costs.usual(shard.items.width)
    rng = np.random.default_rng(7)
    many = np.sort(rng.choice(rows, _MANY, replace=False))
    few, queries = many[:: _MANY // _FEW], shard.items.vectors(rng.permutation(many)[:_TOGETHER])
    one = queries[:1]
    short = _seconds(lambda: exact(shard.items, one, few, _K))
    long = _seconds(lambda: exact(shard.items, one, many, _K))
    together = _seconds(lambda: exact(shard.items, queries, many, _K))
    product = max(together - long, 0.0) / ((_TOGETHER - 1) * _MANY)
    row = max((long - short) / (_MANY - _FEW) - product, 0.0)
    ef = max(shard.tuning.ef_search, _K)
    near, far = (_seconds(partial(_walk, shard, queries[:_WALKED], k)) / _WALKED for k in (_K, 8 * ef))
    power = min(max(math.log(far / near) / math.log(8.0), 0.0), 1.5)
    return Costs(max(short - _FEW * (row + product), 0.0), row, product, near / ef**power, power)


def _walk(shard: Shard, queries: Floats, k: int) -> None:
    """One by one, as queries with filters of their own come."""
    for query in queries:
        shard.index.search(query[None], k)


def _seconds(call: Callable[[], object]) -> float:
    best = math.inf
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
