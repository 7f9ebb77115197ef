"""What `filter_bench` asks: items with numbers, and filters that leave a share of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from load_tests.comparison.workload import Workload
from recsys.config.index import IndexSpec
from recsys.config.platform import AttributeType
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Condition, Filter, Floats, Item, Rows
from recsys.index.base import engine
from recsys.shard.item_table import ItemTable
from recsys.shard.plan_costs import measured
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher

Doubles = npt.NDArray[np.float64]
SHARES = (0.5, 0.2, 0.1, 0.04, 0.01, 0.001, 0.0001)
"""Of the items, that match."""
NUMBERS = ("first", "second", "third", "place", "height")


@dataclass(frozen=True)
class World:
    """Items with five numbers between 0 and 1, a keyword, and the queries that are asked.

    first, second: at random. third: like the first, with some noise. place: similar items have similar ones. height:
    from the least to the greatest likeness to one direction. cluster: a number as a word.
    """

    shard: Shard
    vectors: Floats
    numbers: dict[str, Doubles]
    queries: Floats
    origins: Rows
    """(m,) the item that each query lies near."""


@dataclass(frozen=True)
class Case:
    """A row of the table: a filter for each query."""

    name: str
    filters: Sequence[Filter | None]


def make_world(items: int, dimension: int, queries: int, name: str, ef: int) -> World:
    work = Workload(items=items, dimension=dimension, shards=1, users=1)
    vectors, rng = work.vectors, np.random.default_rng(3)
    clusters = np.argmax(vectors @ vectors[rng.choice(items, 200, replace=False)].T, axis=1)
    first = rng.random(items)
    numbers: dict[str, Doubles] = {
        "first": first,
        "second": rng.random(items),
        "third": np.clip(first + rng.normal(0, 0.05, items), 0, 1),
        "place": _ranks(np.lexsort((vectors[:, 0], clusters))),
        "height": _ranks(np.argsort(vectors @ vectors.mean(axis=0) + 0.5 * vectors[:, 1])),
    }
    declared: dict[str, AttributeType] = {"cluster": "keyword", **dict.fromkeys(NUMBERS, "number")}
    table = ItemTable(declared, dimension, Sketcher.fit(vectors))
    rows = zip(*(numbers[key].tolist() for key in NUMBERS), strict=True)
    table.adopt(
        [
            Item(f"i{n}", "", "", dict(zip(NUMBERS, row, strict=True)) | {"cluster": str(own)}, None)
            for n, (row, own) in enumerate(zip(rows, clusters.tolist(), strict=True))
        ],
        vectors,
    )
    spec = IndexSpec.of(name)
    index = engine(spec).create(spec, dimension)
    index.add(np.arange(items), vectors, 2)
    shard = Shard("bench", table, index)
    shard.tune(ShardTuning(ef_search=ef))
    shard.planner.costs = measured(shard)
    origins = rng.choice(items, queries, replace=False)
    query_vectors = vectors[origins] + rng.standard_normal((queries, dimension)).astype(np.float32) * np.float32(
        0.5 / math.sqrt(dimension)
    )
    query_vectors /= np.linalg.norm(query_vectors, axis=1, keepdims=True)
    return World(shard, vectors, numbers, query_vectors, origins)


def _ranks(order: Rows) -> Doubles:
    """(n,) the place of each row in the order, from 0 to 1."""
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order)) / len(order)
    return ranks


def between(key: str, low: float, high: float) -> Condition:
    return Condition(key, "range", low=low, high=high, high_open=True)


def cases(world: World, shares: Sequence[float] = SHARES) -> Iterator[Case]:
    m = len(world.queries)
    yield Case("none", [None] * m)
    place = world.numbers["place"][world.origins]
    for share in shares:
        percent, root = f"{share * 100:g} %", math.sqrt(share)
        both = Filter(must=(between("first", 0, root), between("second", 0, root)))
        alike = Filter(must=(between("first", 0, share), between("third", 0, share)))
        if share != 0.04:
            yield Case(percent, [Filter(must=(between("first", 0, share),))] * m)
        yield Case(f"{percent}, AND", [both] * m)
        yield Case(f"{percent}, AND alike", [alike] * m)
        yield Case(f"{percent}, NOT", [Filter(must_not=(between("first", share, 2),))] * m)
        low = np.clip(place - share / 2, 0, 1 - share)
        yield Case(f"{percent}, near", [Filter(must=(between("place", x, x + share),)) for x in low.tolist()])
        low = np.clip((place + 0.5) % 1 - share / 2, 0, 1 - share)
        yield Case(f"{percent}, far", [Filter(must=(between("place", x, x + share),)) for x in low.tolist()])
        height = world.numbers["height"][world.origins]
        low = np.where(height > 0.5, 0.0, 1 - share)
        yield Case(f"{percent}, opposite", [Filter(must=(between("height", x, x + share),)) for x in low.tolist()])


def equivalents(world: World) -> Iterator[tuple[Filter, Filter]]:
    clusters = sorted({str(i) for i in range(200)})
    some, rest = tuple(clusters[:60]), tuple(clusters[60:])
    yield Filter(must=(Condition("cluster", "any", some),)), Filter(must_not=(Condition("cluster", "any", rest),))
    yield (
        Filter(should=tuple(Condition("cluster", "any", (c,)) for c in some)),
        Filter(must=(Condition("cluster", "any", some),)),
    )
    for share in SHARES:
        below, above = between("first", 0, share), between("first", share, 2)
        yield Filter(must=(below,)), Filter(must_not=(above,))
        listed = tuple(
            np.sort(world.numbers["first"])[: int(np.count_nonzero(world.numbers["first"] < share))].tolist()
        )
        if len(listed) <= 1000:
            yield Filter(must=(below,)), Filter(must=(Condition("first", "any", listed),))
