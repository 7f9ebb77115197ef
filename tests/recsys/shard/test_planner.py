"""Which plan a planner chooses by its costs, and how deep walks go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.shard.match_depth import observed
from recsys.shard.plans import Costs, Planner, in_steps, shape


@settings(max_examples=80)
@given(st.lists(st.floats(1, 1e5), min_size=1, max_size=20), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1),
       st.floats(0, 10))  # fmt: skip
def test_by_its_own_costs_a_choice_takes_at_most_twice_the_best_single_plan(depths, matching, row, product, walk):
    """Of a batch some queries may walk and others be scored: together they take no more than twice as long as when all
    walk or all are scored, whichever is faster.
    """
    planner = Planner(Costs(call=1.0, row=row, product=product, walk=walk, power=1.0, listed=0.5, check=3.0))
    drawn = np.random.default_rng(0).uniform(0.3, 3.0, len(depths))
    listed = np.where(drawn < 2.0, drawn * depths, np.inf)
    walks, by_list = planner.walks(np.array(depths), listed, 64)
    plain, kept = planner.walks(np.array(depths), None, 64)[0], planner.costs.listed_walks(np.maximum(listed, 64))
    assert np.array_equal(walks, np.minimum(plain, kept))
    assert np.array_equal(by_list, kept < plain)
    walking = planner.walking(walks, matching, np.zeros(len(depths)))
    scored = int(np.count_nonzero(~walking))
    taken = walks[walking].sum() + (planner.costs.exact(matching, scored) if scored else 0.0)
    best = min(walks.sum(), planner.costs.exact(matching, len(depths)))
    assert taken <= 2 * best * (1 + 1e-9)


def test_walks_that_found_too_few_count():
    """A query that has walked for nearly as long as scoring takes does not walk again, however short the next walk."""
    planner = Planner(Costs(call=0.0, row=1.0, product=0.0, walk=1.0, power=1.0))
    walks, spent = np.array([100.0, 100.0, 100.0]), np.array([0.0, 800.0, 950.0])
    assert planner.walking(walks[:1], 1000, spent[:1]).tolist() == [True]
    assert planner.walking(walks[1:2], 1000, spent[1:2]).tolist() == [True]
    assert planner.walking(walks[2:], 1000, spent[2:]).tolist() == [False]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1, max_size=30))
@example([(depth, True) for depth in np.geomspace(1, 1000, 100)])
@example([(0.0, True), (0.5, True), (1.0, True)])
def test_walks_of_like_depth_share_a_call(pairs):
    """Each that walks is in one step, with none that needs less than two thirds of its depth; no other is in any. There
    are no more steps than depths that differ by a half. Of a shard that has lost all its items the depth is 0.
    """
    depths, walking = np.array([d for d, _ in pairs]), np.array([w for _, w in pairs])
    masks = list(in_steps(depths, walking))
    assert np.array_equal(np.sum(masks, axis=0) if masks else np.zeros(len(depths)), walking)
    depths = np.maximum(depths, 1.0)
    assert all(depths[mask].max() <= 1.5 * depths[mask].min() * (1 + 1e-9) for mask in masks)
    if masks:
        steps = np.log(depths[walking].max() / depths[walking].min()) / np.log(1.5)
        assert len(masks) <= (steps + 2 if steps else 1)


def test_a_walk_that_finds_too_few_tells_how_deep_the_next_one_has_to_go():
    """In proportion to what it found, at least twice as deep, and far deeper where it found nothing."""
    deeper = observed(100, np.array([40, 5, 0]), np.array([50, 50, 50]))
    assert deeper.tolist() == pytest.approx([200.0, 1300.0, 13000.0])


def test_shapes():
    """By the share of live items that match; the bounds belong to the wider shape."""
    assert [shape(n, 1000) for n in (1000, 200, 199, 20, 19, 0)] == [
        "wide", "wide", "middle", "middle", "narrow", "narrow",
    ]  # fmt: skip
    assert shape(0, 0) == "narrow"
