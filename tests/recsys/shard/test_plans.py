"""Searches under filters: whatever plan is chosen, all that match are found, and the nearest of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.datatypes import Condition, Filter, Item
from recsys.shard.candidates import QUERY, CandidateSet, Searched
from recsys.shard.item_table import ItemTable
from recsys.shard.match_depth import Depths, Estimate
from recsys.shard.plan_costs import measured
from recsys.shard.plans import PLANS, Costs, Planner, named
from recsys.shard.probes import nearest_query
from recsys.shard.recall import Exact
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from tests.support.filtered_shards import LOCAL, Scores, between, filtered_shard, filters, planners, shapes
from tests.support.small_shards import Asked, D, Walks, answers
from tests.support.world import unit_rows


@cache
def small() -> Shard:
    shard = filtered_shard(1500)
    shard.delete([f"i{i}" for i in range(0, 1500, 17)])
    return shard


def matches(shard: Shard, asked: Filter) -> set[str]:
    return set(shard.ids(shard.lists.matches(asked)))


def line(shard: Shard, seed: int, k: int, asked: Filter, exclude: Any = ()) -> dict[str, tuple[int, np.ndarray]]:
    vector = unit_rows(np.random.default_rng(seed).standard_normal((1, D)))[0]
    return answers(shard, [Asked([(QUERY, "similar", k, vector)], filter=asked, exclude=list(exclude))])[0]


@settings(max_examples=50)
@given(filters, planners, st.integers(0, 30), st.integers(1, 80), st.lists(st.integers(0, 1500), max_size=30))
def test_a_filter_never_returns_fewer_than_match(asked, planner, seed, k, excluded):
    """Whatever the planner chooses, and whatever is excluded: k items, or all that are left, and none besides."""
    small().planner = planner
    out = {f"i{i}" for i in excluded}
    got = line(small(), seed, k, asked, out)
    left = matches(small(), asked) - out
    assert set(got) <= left
    assert len(got) >= min(k, len(left))


LISTED = tuple(float(x) for x in range(3, 7))
STEPS = Filter(must=(Condition("step", "any", LISTED),))
EQUAL = [
    (STEPS, Filter(must=(Condition("step", "range", low=3, high=6),))),
    (STEPS, Filter(must=(Condition("step", "range", low=2, high=7, low_open=True, high_open=True),))),
    (STEPS, Filter(must_not=(Condition("step", "any", (0.0, 1.0, 2.0, 7.0, 8.0, 9.0)),))),
    (STEPS, Filter(should=tuple(Condition("step", "any", (x,)) for x in LISTED))),
    (STEPS, Filter(must=(Condition("step", "range", low=3), Condition("step", "range", high=6)))),
    (STEPS, Filter(must=(Condition("step", "exists"),), must_not=(Condition("step", "range", high=2),
                                                                  Condition("step", "range", low=7)))),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "other"), EQUAL)
@given(planner=st.sampled_from([Planner(Costs.usual(D)), Walks(), Scores(Costs.usual(D))]), seed=st.integers(0, 50),
       k=st.integers(1, 80))  # fmt: skip
@settings(max_examples=15)
def test_filters_that_match_the_same_give_the_same(asked, other, planner, seed, k):
    """A list and a range, what is in and what is not out, one of several and all of them: equal to the bit."""
    small().planner = planner
    one, two = line(small(), seed, k, asked), line(small(), seed, k, other)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[i][1], two[i][1], equal_nan=True) for i in one)


ITEMS = 8400
"""More than the 8,192 from which on costs are measured."""


@cache
def of_8400(name: str) -> Shard:
    return filtered_shard(ITEMS, name)


@pytest.fixture(params=["hnsw", "hnsw_int8"])
def large(request: pytest.FixtureRequest) -> Shard:
    """Tests put a planner of their own there, and change nothing else."""
    return of_8400(request.param)


@pytest.mark.parametrize(("share", "walks"), [*((share, False) for share in (0.5, 0.2, 0.1, 0.04, 0.01, 0.001)),
                                              *((share, True) for share in (0.5, 0.2, 0.04))])  # fmt: skip
def test_the_nearest_matches_are_found_wherever_they_lie(large, share, walks):
    """Filters alone, AND-ed, negated and correlated with where the query lies: recall@10 of 0.99 in each."""
    large.planner = Walks() if walks else Planner(replace(Costs.usual(D), walk=1e-8))
    rows = np.random.default_rng(5).choice(ITEMS, 12, replace=False)
    vectors = unit_rows(large.items.vectors(rows) + 0.05 * np.random.default_rng(6).standard_normal((12, D)))
    vectors = vectors.astype(np.float32)
    for name, asked in shapes(0.0, share).items():
        if name not in LOCAL:
            assert Exact.of([large], vectors, 10, asked).recall() >= 0.99
    for name in LOCAL:
        each = [shapes(row / ITEMS, share)[name] for row in rows.tolist()]
        found = [Exact.of([large], vector[None], 10, own).recall() for vector, own in zip(vectors, each, strict=True)]
        assert np.mean(found) >= 0.99


def test_an_answer_says_how_it_was_found_and_how_many_match():
    """A rare filter is scored, a wide one walked for, and without a filter nothing is said. Of several shards all plans
    are told, and their matches add up.
    """
    shard = of_8400("hnsw")
    shard.planner = Planner(Costs(call=0.0, row=1.0, product=1.0, walk=4.0, power=1.0))
    wide, rare = Filter(must=(between("u", 0, 0.5),)), Filter(must=(between("u", 0, 0.004),))
    vectors = shard.items.vectors(np.array([5, 6, 7]))
    query = structs.replace(nearest_query("v", vectors, 10), filters=(None, wide, rare))
    found = search(shard, query)
    assert set(found.searched) == {1, 2}
    assert [named(found.searched[b].plans) for b in (1, 2)] == [("post_filter",), ("exact",)]
    assert [found.searched[b].matches for b in (1, 2)] == [shard.lists.count(wide), shard.lists.count(rare)]
    twice = CandidateSet.merge([found, structs.replace(found, searched={1: Searched(PLANS["exact"], 5)})])
    assert named(twice.searched[1].plans) == ("post_filter", "exact")
    assert twice.searched[1].matches == shard.lists.count(wide) + 5


def real_depth(shard: Shard, vector: Any, asked: Filter, wanted: int) -> int:
    rows = shard.items.live_rows()
    order = rows[np.argsort(-(shard.items.vectors(rows) @ vector))]
    return int(np.flatnonzero(np.isin(order, shard.lists.matches(asked)))[wanted - 1]) + 1


@pytest.mark.parametrize("share", [0.5, 0.2, 0.1])
def test_depths_follow_where_the_matches_lie(large, share):
    """Matches anywhere: about the wanted over their share. All around the query: hardly more than are wanted. Anywhere
    but there: more, and never so few that a walk for them had no chance.
    """
    depths, rows = Depths(large.items), np.random.default_rng(8).choice(ITEMS, 40, replace=False)
    wanted, ratios = np.array([20]), {"alone": [], "near": [], "far": []}
    for row in rows.tolist():
        vector = large.items.vectors(np.array([row]))
        for name, told in ratios.items():
            asked = shapes(row / ITEMS, share)[name]
            mask, matching = large.lists.mask(asked), large.lists.count(asked)
            estimated = depths.estimate(vector, wanted, mask, matching).depths[0]
            told.append(estimated / real_depth(large, vector[0], asked, 20))
            if name == "near":
                assert estimated <= 1.5 * 20 / share
    middle = {name: float(np.median(values)) for name, values in ratios.items()}
    assert 0.8 < middle["alone"] < 2
    assert 0.8 < middle["near"] < 2.5
    assert middle["far"] > 0.7


def test_a_walk_has_an_allow_list_where_matches_lie_as_everywhere(large):
    """Or more densely; hardly ever where there are none near the query, for it could not tell what it passed."""
    depths, rows = Depths(large.items), np.random.default_rng(8).choice(ITEMS, 40, replace=False)
    may: dict[str, list[bool]] = {"alone": [], "near": [], "far": []}
    for row in rows.tolist():
        vector = large.items.vectors(np.array([row]))
        for name, told in may.items():
            asked = shapes(row / ITEMS, 0.2)[name]
            mask, matching = large.lists.mask(asked), large.lists.count(asked)
            estimate = depths.estimate(vector, np.array([20]), mask, matching, allow_list=True)
            assert estimate.listed is not None
            told.append(bool(np.isfinite(estimate.listed[0])))
            if told[-1]:
                assert estimate.listed[0] <= estimate.depths[0]
    shares = {name: float(np.mean(told)) for name, told in may.items()}
    assert shares["alone"] > 0.7
    assert shares["near"] > 0.7
    assert shares["far"] < 0.2


def test_the_sample_follows_a_table_that_grows():
    """Drawn when the table was empty, it is drawn anew when there are items, and items that went do not count."""
    shard = filtered_shard(3000, "flat")
    empty = Depths(ItemTable({}, D, Sketcher.fit(np.zeros((0, D), np.float32))))
    vector = shard.items.vectors(np.array([3]))
    assert empty.estimate(vector, np.array([5]), np.zeros(0, bool), 0).depths.tolist() == [1.0]
    gone = Filter(must=(between("u", 0, 0.5),))
    shard.delete(sorted(matches(shard, gone))[:1400])
    left = shard.lists.count(gone)
    estimated = shard.depths.estimate(vector, np.array([5]), shard.lists.mask(gone), left).depths[0]
    assert estimated >= 0.3 * 5 * shard.items.live / max(left, 1)


def test_costs_are_measured_on_what_was_loaded(large):
    """Every cost is above zero and finite, and more work costs more; a shard of few items is not measured."""
    costs = measured(large)
    assert costs != Costs.usual(D)
    assert 0 < costs.walk < 1e-3
    assert 0 <= costs.power <= 1.5
    assert 0 < costs.row + costs.product < 1e-5
    assert costs.exact(10_000, 1) < costs.exact(10_000, 8)
    assert measured(filtered_shard(100)) == Costs.usual(D)


def test_a_walk_with_an_allow_list_does_not_pass_off_what_is_far_as_near(monkeypatch):
    """Where no match is near the query, an answer that is full of far ones is not enough, and the nearest are found all
    the same; the answer says so.
    """
    shard, near = of_8400("hnsw_int8"), []
    shard.planner = Walks()
    taken_for_near = Estimate(np.full(1, 60.0), np.full(1, 60.0))
    monkeypatch.setattr(shard.depths, "estimate", lambda *_, **__: taken_for_near)
    for row in (500, 3000, 5000):
        vector, asked = shard.items.vectors(np.array([row])), shapes(row / ITEMS, 0.1)["far"]
        query = structs.replace(nearest_query("v", vector, 20), filters=(asked,))
        near.append(Exact.of([shard], vector, 10, asked).recall())
        assert "allow_list" in named(search(shard, query).searched[0].plans)
    assert min(near) >= 0.9


def test_an_item_is_found_under_a_filter_as_soon_as_it_is_there():
    """What comes after an allow-list was made is in the next answer, and what no longer matches is out of it."""
    shard = filtered_shard(3000, "hnsw_int8")
    shard.planner = Walks()
    asked = Filter(must=(between("u", 0, 0.5),))
    line(shard, 1, 10, asked)
    vector = unit_rows(np.random.default_rng(1).standard_normal((1, D))).astype(np.float32)
    new = Item("new", "", "", {"u": 0.1, "v": 0.1, "place": 0.5, "step": 1, "own": "c1"})
    shard.upsert([new], vector)
    assert "new" in line(shard, 1, 10, asked)
    shard.upsert([replace(new, attributes=new.attributes | {"u": 0.9})], vector)
    assert "new" not in line(shard, 1, 10, asked)
