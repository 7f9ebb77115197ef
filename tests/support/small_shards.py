"""A shard of few items, and what it answers to requests of one batch."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np

from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Filter, Item, item_keys
from recsys.index.base import engine
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.item_table import ItemTable
from recsys.shard.plans import Costs, Planner
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.sources import BITS, COLUMNS
from recsys.state.item_counts import Counts
from tests.support.world import unit_rows

D = 16


FLOOR = 3.0
"""Trends below this are past: items whose likes came with a name of two letters."""


class Walks(Planner):
    """Walks wherever it may, however many matches there are, and with an allow-list wherever there is one."""

    def __init__(self) -> None:
        super().__init__(Costs.usual(D))

    def walks(self, depths: Any, listed: Any, least_ef: int) -> Any:
        seconds, by_list = super().walks(depths, listed, least_ef)
        return seconds, by_list if listed is None else np.isfinite(listed)

    def walking(self, walks: Any, matching: int, spent: Any) -> Any:
        return np.isfinite(walks)


def make_shard(n: int, name: str = "hnsw", seed: int = 0, **tuning: Any) -> Shard:
    """Items i0, i1, … clustered around 20 centres; every 13th deleted, every 11th moved, likes and times on some.

    The items are there at once, as those of a version are; what moves or goes does so afterwards.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, D))
    vectors = unit_rows(centres[rng.integers(0, 20, n)] + 0.4 * rng.standard_normal((n, D))) if n else np.zeros((0, D))
    items = [
        Item(f"i{i}", f"t{i}", "", {"parity": ("even", "odd")[i % 2], "hundreds": str(i // 100)}, i if i % 3 else None)
        for i in range(n)
    ]
    spec = IndexSpec.of(name)
    table, index = (
        ItemTable({"parity": "keyword", "hundreds": "keyword"}, D, Sketcher.fit(vectors)),
        engine(spec).create(spec, D),
    )
    if n:
        table.adopt(items, vectors.astype(np.float32))
        index.add(np.arange(n), vectors.astype(np.float32))
    shard = Shard("v", table, index)
    shard.tune(ShardTuning(**tuning))
    if n:
        shard.upsert([items[i] for i in range(0, n, 11)], vectors[::-1][range(0, n, 11)].astype(np.float32))
        shard.delete([f"i{i}" for i in range(0, n, 13)])
        shard.fresh.link()
        liked = [f"i{i}" for i in range(0, n, 4)]
        shard.count(Counts(liked, [float(len(x) * 7 % 5) for x in liked], [float(len(x)) for x in liked]))
    return shard


@cache
def _standing(n: int) -> Shard:
    return make_shard(n)


def standing_shard(n: int, **tuning: Any) -> Shard:
    """The one shard of n items that all tests of a file share: they tune it anew, and change nothing else of it."""
    shard = _standing(n)
    shard.tune(ShardTuning(**tuning))
    return shard


@dataclasses.dataclass
class Asked:
    """One request of a batch."""

    vectors: list[tuple[int, str | None, int, np.ndarray]] = dataclasses.field(default_factory=list)
    """Role, source (None: signal only), k, unit vector."""
    columns: dict[str, int] = dataclasses.field(default_factory=dict)
    filter: Filter | None = None
    exclude: list[str] = dataclasses.field(default_factory=list)
    items: tuple[str, ...] = ()


def query_of(batch: list[Asked], *, sketches: bool = True) -> ShardQuery:
    plan = [(b, *v) for b, a in enumerate(batch) for v in a.vectors]
    excluded = [np.unique(item_keys(a.exclude)) for a in batch]
    return ShardQuery(
        version="v",
        vectors=np.array([v for *_, v in plan], np.float32).reshape(-1, D),
        vector_request=np.array([p[0] for p in plan], np.int64),
        vector_role=np.array([p[1] for p in plan], np.int64),
        vector_source=np.array([BITS[p[2]] if p[2] else 0 for p in plan], np.int64),
        vector_k=np.array([p[3] for p in plan], np.int64),
        trail=np.zeros(0, np.uint64),
        trail_weights=np.zeros(0, np.float32),
        trail_offsets=np.zeros(len(batch) + 1, np.int64),
        column_k=np.array([[a.columns.get(c, 0) for c in COLUMNS] for a in batch], np.int64),
        filters=tuple(a.filter for a in batch),
        exclude=np.concatenate(excluded),
        exclude_offsets=np.cumsum([0, *map(len, excluded)]),
        asked=tuple(a.items for a in batch),
        sketches=sketches,
        trend_floor=FLOOR,
        grouped=(),
    )


def answers(shard: Shard, batch: list[Asked], *, merged: bool = False) -> list[dict[str, tuple[int, np.ndarray]]]:
    """For each request: item id -> bits of its sources, likeness by role."""
    found = search(shard, query_of(batch))
    if merged:  # as every answer is on its way
        found = CandidateSet.merge([found])
    assert len(found.offsets) == len(batch) + 1
    lines = []
    for start, end in zip(found.offsets[:-1], found.offsets[1:], strict=True):
        ids = [found.ids[i] for i in range(start, end)]
        assert len(set(ids)) == len(ids)
        lines.append(
            {i: (int(found.sources[r]), found.likeness[r]) for i, r in zip(ids, range(start, end), strict=True)}
        )
    return lines
