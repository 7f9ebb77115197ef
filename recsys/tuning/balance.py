"""How long the learned part of items is to be beside their text, for one graph to find both by.

Factors of popular items reach ten times the length of a text. In a graph over `[text | learned]` their links are then
all of the learned part, and a text that is searched for is not found: recall@10 is 0.61 to 0.88 on three shops. With
the learned part of items divided by a *balance*, and that of queries multiplied by it, all scores stay the same and
the graph has both parts in it. Which balance is best is tried on a sample of the items, in some seconds: it is flat
around its best, and the sample's is that of all items (three shops of 12,000 to 20,000 items: 3 to 4).
"""

from __future__ import annotations

import numpy as np

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats
from recsys.index.base import engine
from recsys.shard.probes import sample
from recsys.shard.recall import CANDIDATES
from recsys.tuning.probe_queries import ProbeQueries

_STEPS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
_ITEMS = 5000
_K = 10


def choose_balance(vectors: Floats, text: int, probes: ProbeQueries, spec: IndexSpec, seed: int = 7) -> float:
    """The balance at which the worst kind of queries finds most; `vectors` are the items', (I, width), their first
    `text` columns the texts, at a balance of 1, as `probes` are.
    """
    if spec.exact or text == vectors.shape[1] or not len(vectors):
        return 1.0
    some = sample(vectors, _ITEMS, seed)

    def least(balance: float) -> float:
        items = some.copy()
        items[:, text:] /= np.float32(balance)
        return min(found_in(items, queries, spec) for queries in probes.balanced(text, balance).kinds.values())

    at = _STEPS.index(1.0)
    best = least(1.0)
    for way in (1, -1):
        while 0 <= at + way < len(_STEPS) and (recall := least(_STEPS[at + way])) > best:
            at, best = at + way, recall
        if _STEPS[at] > 1.0:
            break
    return _STEPS[at]


def found_in(items: Floats, queries: Floats, spec: IndexSpec, ef_search: int | None = None) -> float:
    """Recall@10 of a graph of these distinct vectors, asked for as many candidates as a request asks for.

    Built on one thread, so that the same vectors give the same graph.
    """
    index = engine(spec).create(spec, items.shape[1])
    index.add(np.arange(len(items)), items)
    index.tune(ShardTuning() if ef_search is None else ShardTuning(ef_search=ef_search))
    k = min(_K, len(items))
    exact = queries @ items.T
    least = np.partition(exact, -k, axis=1)[:, -k]
    rows, _ = index.search(queries, min(CANDIDATES, len(items)))
    scores = np.where(rows >= 0, np.take_along_axis(exact, np.maximum(rows, 0), axis=1), -np.inf)
    tie = np.float32(1e-6) * np.maximum(np.abs(least), 1)
    return float(np.minimum((scores >= (least - tie)[:, None]).sum(axis=1), k).mean() / k)
