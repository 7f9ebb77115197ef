"""A shard whose attributes say where items lie, filters over them, and planners that walk, score or toss a coin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Condition, Filter, Item
from recsys.index.base import engine
from recsys.shard.item_table import ItemTable
from recsys.shard.plans import Costs, Planner
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from tests.support.small_shards import D, Walks
from tests.support.world import unit_rows

CENTRES = 40


def filtered_shard(n: int, name: str = "hnsw", **tuning: Any) -> Shard:
    """Items in 40 clusters. `u` is at random, `v` nearly the same, `place` puts similar items side by side."""
    rng = np.random.default_rng(1)
    own = np.sort(rng.integers(0, CENTRES, n))
    vectors = unit_rows(rng.standard_normal((CENTRES, D))[own] + 0.35 * rng.standard_normal((n, D))).astype(np.float32)
    drawn = rng.random(n)
    u, v = drawn.tolist(), np.clip(drawn + rng.normal(0, 0.02, n), 0, 1).tolist()
    items = [
        Item(f"i{i}", "", "", {"u": u[i], "v": v[i], "place": i / n, "step": i % 10, "own": f"c{own[i]}"})
        for i in range(n)
    ]
    declared: Any = {"u": "number", "v": "number", "place": "number", "step": "number", "own": "keyword"}
    table = ItemTable(declared, D, Sketcher.fit(vectors))
    table.adopt(items, vectors)
    spec = IndexSpec.of(name)
    index = engine(spec).create(spec, D)
    index.add(np.arange(n), vectors)
    shard = Shard("v", table, index)
    shard.tune(ShardTuning(**({"exact_below": 0, "ef_search": 100} | tuning)))
    return shard


class Scores(Planner):
    """Never walks."""

    def walking(self, walks: Any, matching: int, spent: Any) -> Any:
        return np.zeros(len(walks), bool)


class Coin(Planner):
    """Walks or does not, at random."""

    def __init__(self, seed: int) -> None:
        super().__init__(Costs.usual(D))
        self._rng = np.random.default_rng(seed)

    def walks(self, depths: Any, listed: Any, least_ef: int) -> Any:
        seconds, by_list = super().walks(depths, listed, least_ef)
        return seconds, by_list if listed is None else np.isfinite(listed) & (self._rng.random(len(depths)) < 0.5)

    def walking(self, walks: Any, matching: int, spent: Any) -> Any:
        return np.isfinite(walks) & (self._rng.random(len(walks)) < 0.7)


planners = st.one_of(
    st.just(Planner(Costs.usual(D))), st.just(Walks()), st.just(Scores(Costs.usual(D))), st.integers(0, 99).map(Coin)
)
numbers = st.sampled_from([0.0, 0.0005, 0.01, 0.1, 0.2, 0.5, 0.8, 1.0])


def between(key: str, low: float, high: float) -> Condition:
    return Condition(key, "range", low=low, high=high, high_open=True)


@st.composite
def conditions(draw: Any) -> Condition:
    if draw(st.booleans()):
        low, high = sorted((draw(numbers), draw(numbers)))
        return between(draw(st.sampled_from(["u", "v", "place"])), low, high)
    return Condition("own", "any", tuple(draw(st.lists(st.integers(0, CENTRES).map("c{}".format), min_size=1))))


some = st.lists(conditions(), max_size=2).map(tuple)
filters = st.builds(Filter, some, some, some)


LOCAL = ("near", "far")
"""Of `shapes`, those that depend on the place."""


def shapes(place: float, share: float) -> dict[str, Filter]:
    """Filters that leave so many items, for a query that lies at this place."""
    near = min(max(place - share / 2, 0.0), 1 - share)
    far = min(max((place + 0.5) % 1 - share / 2, 0.0), 1 - share)
    root = math.sqrt(share)
    return {
        "alone": Filter(must=(between("u", 0, share),)),
        "and": Filter(must=(between("u", 0, root), between("step", 0, round(10 * root)))),
        "and alike": Filter(must=(between("u", 0, share), between("v", 0, share))),
        "not": Filter(must_not=(between("u", share, 2),)),
        "near": Filter(must=(between("place", near, near + share),)),
        "far": Filter(must=(between("place", far, far + share),)),
    }
