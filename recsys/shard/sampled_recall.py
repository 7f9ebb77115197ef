"""Recall of a shard that has too many items to score them all: its misses are counted among a sample of its rows.

A sampled row that is nearer to a query than the worst of the k that the search found, and was not found, is a miss. Of
n rows, s sampled ones show s / n of the misses, so each stands for n / s. The mean is that of `recall.recall` over the
same searches, but for misses that stand side by side at the end of the k: of these it counts too many, and errs to the
safe side (at a recall of 0.9 by 0.01, at 0.97 by 0.001).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats, Rows
from recsys.shard.exact import exact
from recsys.shard.recall import TIE, of_items, served
from recsys.shard.shard import Shard
from recsys.shard.vector_names import vector_names

_RUN = 1 << 8
"""Rows sampled side by side: they lie in the same pages of a file."""


def sampled_rows(rows: Rows, most: int, seed: int) -> Rows:
    """At most so many of the (n,) rows, in runs whose places are random, and each of the rows as likely as another."""
    if len(rows) <= most:
        return rows
    runs = -(-len(rows) // _RUN)
    picked = np.sort(np.random.default_rng(seed).permutation(runs)[: max(most // _RUN, 1)])
    at = (picked[:, None] * _RUN + np.arange(_RUN)).ravel()
    return rows[at[at < len(rows)]]


def shares(
    shard: Shard, queries: Floats, rows: Rows, k: int, asked: Rows, rest: Callable[[], None] | None = None
) -> npt.NDArray[np.float64]:
    """(m,) estimated recall@k of the served search for each of (m, d) queries, from the misses among these rows.

    `asked`: (m,) candidates that each query asks for, k or more; where copies fill them, fewer than k are wanted. With
    few rows a share says nothing by itself: most are 1.0, and a single miss may cost more than 1. `rest`: as for
    `Exact.of`.
    """
    near, near_scores = exact(shard.items, queries, rows, k, truth=True, rest=rest)
    near_names = vector_names(shard.items.truth(near.ravel())).reshape(near.shape)
    candidates = served([shard], queries, asked)
    names, scores = of_items([shard], candidates, queries)
    weight, result = shard.items.shown / max(len(rows), 1), np.ones(len(queries))
    for q, count in enumerate(asked.tolist()):
        mine = slice(candidates.offsets[q], candidates.offsets[q + 1])
        found, first = np.unique(names[mine], return_index=True)
        best = np.sort(scores[mine][first])[::-1][:k]
        wanted, least = k, np.float32(-np.inf)  # of a search that came short every row that it lacks is a miss
        if len(best) == k or len(names[mine]) >= count:
            wanted, least = len(best), best[-1] + np.float32(TIE) * max(abs(best[-1]), np.float32(1))
        misses = len(np.setdiff1d(near_names[q][near_scores[q] > least], found))
        result[q] -= misses * weight / wanted
    return result
