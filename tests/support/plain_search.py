"""Requests of a shard of few items, and what a plain reading of them promises."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from recsys.datatypes import Condition, Filter
from recsys.shard.candidates import BECAUSE, QUERY, TASTE
from recsys.shard.shard import Shard
from recsys.shard.sources import BITS, COLUMNS
from recsys.shard.trail_measures import LIKENESS
from tests.support.small_shards import FLOOR, Asked, D, answers
from tests.support.world import unit_rows

EVEN = Filter(must=(Condition("parity", "any", ("even",)),))
RARE = Filter(must=(Condition("hundreds", "any", ("7",)),))
NONE = Filter(must=(Condition("parity", "any", ("neither",)),))
ALL = Filter(must=(Condition("parity", "exists"),))
FILTERS = (None, EVEN, RARE, NONE, ALL)


def fits(attributes: Any, given_filter: Filter | None) -> bool:
    if given_filter is None:
        return True
    (condition,) = given_filter.must
    return condition.op == "exists" or attributes[condition.key] in condition.values


def eligible(shard: Shard, asked: Asked) -> list[int]:
    """Rows that the request may be given, by the plain reading."""
    return [
        r
        for r in range(len(shard.items))
        if shard.items.row(shard.items.ids[r]) == r
        and shard.items.ids[r] not in asked.exclude
        and fits(shard.items.item(r).attributes, asked.filter)
    ]


def check(shard: Shard, batch: list[Asked], *, exact: bool) -> None:
    """Every promise that a plain reading of the requests makes."""
    for asked, got in zip(batch, answers(shard, batch), strict=True):
        rows = eligible(shard, asked)
        names = {shard.items.ids[r] for r in rows}
        there = {i for i in asked.items if shard.items.row(i) is not None}
        assert set(got) <= names | there
        for source in ("similar", "because_you_liked", *COLUMNS):
            bit = BITS[source]
            mine = {i for i, (bits, _) in got.items() if bits & bit}
            wanted: set[str] = set()
            at_least = 0
            for role, of, k, vector in asked.vectors:
                if of != source:
                    continue
                near = sorted(rows, key=lambda r, v=vector: -float(shard.items.vectors(np.array([r]))[0] @ v))[:k]
                wanted |= {shard.items.ids[r] for r in near}
                at_least = max(at_least, len(near))
                assert role in range(LIKENESS)
            if source in COLUMNS and asked.columns.get(source):
                values = {
                    "popular": shard.items.counts.view,
                    "trending": shard.items.trends.view,
                    "recent": shard.items.created_at.view,
                }[source]
                known = [r for r in rows if np.isfinite(values[r]) and (source != "trending" or values[r] >= FLOOR)]
                wanted = {
                    shard.items.ids[r] for r in sorted(known, key=lambda r: (-values[r], r))[: asked.columns[source]]
                }
                assert mine == wanted
            elif exact:
                assert mine == wanted
            else:
                assert len(mine) >= at_least
                assert len(mine & wanted) >= 0.95 * len(wanted)
        assert {i for i, (bits, _) in got.items() if bits & BITS["asked"]} == there
        assert all(bits for bits, _ in got.values())
        for item_id, (_, likeness) in got.items():
            own = shard.items.vectors(np.array([shard.items.row(item_id)]))[0]
            expected = np.full(LIKENESS, np.nan)
            for role, _, _, vector in asked.vectors:
                expected[role] = own @ vector
            np.testing.assert_allclose(likeness, expected, atol=1e-5)


@st.composite
def requests(draw: Any, ids: int) -> Asked:
    names = st.integers(0, ids + 3).map(lambda i: f"i{i}")
    vectors = []
    for role, source in ((QUERY, "similar"), (TASTE, None), (BECAUSE, "because_you_liked")):
        if draw(st.booleans()):
            seed = draw(st.integers(0, 50))
            vector = unit_rows(np.random.default_rng(seed).standard_normal((1, D)))[0]
            vectors.append((role, source, draw(st.integers(1, 40)) if source else 0, vector))
    return Asked(
        vectors,
        draw(st.dictionaries(st.sampled_from(COLUMNS), st.integers(1, 40))),
        draw(st.sampled_from(FILTERS)),
        draw(st.lists(names, max_size=ids)),
        tuple(draw(st.lists(names, max_size=5))),
    )


def random_batch(rng: np.random.Generator, size: int, shard: Shard) -> list[Asked]:
    batch = []
    for _ in range(size):
        vector, taste = unit_rows(rng.standard_normal((2, D)))
        near = np.argsort(-(shard.items.vectors(np.arange(len(shard.items))) @ vector))[: rng.choice([0, 5, 300])]
        batch.append(
            Asked(
                [(QUERY, "similar", int(rng.integers(1, 60)), vector), (TASTE, None, 0, taste)],
                {c: int(rng.integers(0, 30)) for c in COLUMNS},
                FILTERS[rng.integers(0, len(FILTERS))],
                [shard.items.ids[r] for r in near],  # the nearest are what users have seen
                ("i1", "i2999", "ghost") if rng.random() < 0.2 else (),
            )
        )
    return batch
