"""The controller against shards that are made up: what recall they have at an effort is known."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.tuning import RecallTarget
from recsys.shard.recall_control import Decision, RecallController, Sample

ROUND_S = 4.0
"""Seconds between two measurements of 32 searches."""
SAMPLES = [Sample(found / 10) for found in range(11)]
"""By neighbours found."""


@dataclasses.dataclass
class MadeUp:
    """A shard that misses 5 % of the neighbours at the effort `needed`, and fewer the more effort there is."""

    needed: float
    exponent: float = 1.5
    alike: float = 15.0
    """How alike its searches are: a small number means that some find nearly all and others little."""
    seed: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def recall(self, effort: float) -> float:
        return 1.0 - min(0.05 * (self.needed / effort) ** self.exponent, 0.95)

    def searches(self, effort: int, n: int = 32) -> list[Sample]:
        recall = self.recall(effort)
        own = self._rng.beta(recall * self.alike, (1.0 - recall) * self.alike, n)
        return [SAMPLES[found] for found in self._rng.binomial(10, own).tolist()]


def run(controller: RecallController, shard: MadeUp, seconds: float, start: float = 0.0) -> list[Decision]:
    return [
        controller.observe(shard.searches(controller.effort), start + ROUND_S * i)
        for i in range(int(seconds / ROUND_S))
    ]


def controller(start: int = 64, *, may_score_all: bool = False, **target: Any) -> RecallController:
    return RecallController(
        RecallTarget(**({"min_ef": 1, "max_ef": 10_000} | target)), start, may_score_all=may_score_all
    )


made_up = st.builds(
    MadeUp,
    needed=st.floats(20, 800),
    exponent=st.floats(1.1, 2.0),
    alike=st.floats(10, 100),
    seed=st.integers(0, 1 << 16),
)


@settings(max_examples=15, deadline=None)
@given(made_up, st.integers(4, 3000))
def test_it_comes_to_an_effort_that_holds_the_floor_and_to_hardly_more(shard, start):
    """Wherever it starts: after twenty minutes it is between the least effort that holds the floor and twice as
    much, which it is where searches differ most."""
    steering = controller(start)
    run(steering, shard, 1200)
    assert shard.recall(steering.effort) >= 0.94
    assert steering.effort <= 2.0 * shard.needed


@settings(max_examples=20, deadline=None)
@given(made_up)
def test_a_lost_floor_is_found_again_within_a_minute(shard):
    """From a tenth of the effort that is needed, as after a disturbance. What is left is within what so few searches
    can tell."""
    steering = controller(max(int(shard.needed / 10), 1))
    run(steering, shard, 60)
    assert shard.recall(steering.effort) >= 0.95 - 0.03


@settings(max_examples=12, deadline=None)
@given(made_up)
def test_it_comes_to_rest(shard):
    """In the half hour after the first one it changes its mind seldom, and hardly at all in size."""
    steering = controller(int(shard.needed) + 1)
    run(steering, shard, 1800)
    later = run(steering, shard, 1800, start=1800)
    changes = [d.effort for d in later if d.action != "hold"]
    assert len(changes) <= 45
    efforts = [d.effort for d in later]
    assert np.percentile(efforts, 95) <= 2.0 * np.percentile(efforts, 5)
    assert np.mean([shard.recall(effort) for effort in efforts]) >= 0.95


@settings(max_examples=20, deadline=None)
@given(made_up, st.integers(1, 60), st.integers(60, 400), st.integers(1, 500))
def test_the_bounds_are_kept(shard, least, most, start):
    steering = controller(start, min_ef=least, max_ef=most)
    for decision in run(steering, shard, 600):
        if decision.action in {"raise", "lower"}:
            assert least <= decision.effort <= max(most, start)


def test_without_min_ef_it_goes_no_lower_than_where_it_began():
    steering = controller(64, min_ef=None)
    decisions = run(steering, MadeUp(needed=10), 1200)
    assert {d.action for d in decisions} == {"hold"}
    hard = MadeUp(needed=200)
    run(steering, hard, 120)
    assert hard.recall(steering.effort) > 0.94
    run(steering, MadeUp(needed=10), 1200, start=2000)
    assert 64 <= steering.effort <= 64 * 1.07  # what is less than that is not worth a change


def test_raising_is_at_once_and_lowering_goes_as_far_as_is_shown():
    """Far too low: the first measurement raises. Far too high: each step keeps what 32 searches or more say is needed,
    so it comes near in a few steps and does not lose the floor on the way."""
    low, high = controller(10), controller(1000)
    shard = MadeUp(needed=100)
    first = run(low, shard, ROUND_S)[0]
    assert first.action == "raise"
    assert first.effort == 40
    decisions = run(high, shard, 60)
    assert decisions[0].action == "lower"
    efforts = [1000, *(d.effort for d in decisions)]
    assert all(after >= before / 4.0 - 1 for before, after in itertools.pairwise(efforts))
    assert 90 <= min(efforts) <= 200


def test_it_settles_where_many_searches_show_the_floor_held_and_wakes_when_the_newest_do_not():
    shard = MadeUp(needed=100, alike=50)
    steering = controller(130, min_ef=130)
    run(steering, shard, 20)
    assert not steering.settled
    run(steering, shard, 400, start=20)
    assert steering.settled
    steering.observe([Sample(0.9)] * 32, 500.0)
    assert not steering.settled


def test_few_searches_decide_nothing():
    steering = controller(64)
    for i in range(11):
        assert steering.observe([Sample(0.0)], float(i)).action == "hold"
    assert steering.observe([Sample(0.0)], 12.0).action == "raise"


def test_nothing_is_done_without_searches():
    steering = controller(64)
    assert steering.observe([], 0.0).action == "hold"
    assert steering.held is None


def test_searches_at_another_effort_do_not_count():
    steering = controller(64)
    steering.observe([Sample(0.5)] * 32, 0.0)
    assert steering.held is None
    assert steering.observe([Sample(1.0)] * 20, 1.0).action == "hold"
    assert steering.held is not None
    assert (steering.held.recall, steering.held.searches) == (1.0, 20)


def test_an_effort_that_was_too_low_is_not_tried_again_for_two_minutes():
    steering = controller(100)
    shard = MadeUp(needed=120, alike=50)
    run(steering, shard, 400)
    too_low = [d.effort for d in run(steering, shard, 100, start=400)]
    assert min(too_low) > 80


def test_at_its_bound_it_asks_for_a_rebuild_and_says_so_once():
    steering = controller(64, max_ef=128)
    hopeless = MadeUp(needed=5000)
    decisions = run(steering, hopeless, 120)
    assert [d.action for d in decisions if d.action != "hold"] == ["raise", "bound"]
    assert steering.rebuild
    assert not steering.exact
    assert "under 0.95" in next(d.why for d in decisions if d.action == "bound")
    assert steering.effort == 128


def test_a_small_shard_scores_every_item_then_and_tries_its_graph_again_after_ten_minutes():
    steering = controller(64, max_ef=128, may_score_all=True)
    decisions = run(steering, MadeUp(needed=5000), 120)
    assert [d.action for d in decisions if d.action != "hold"] == ["raise", "exact"]
    assert steering.exact
    assert steering.rebuild
    assert steering.held is None
    assert {d.action for d in run(steering, MadeUp(needed=50), 480, start=120)} == {"hold"}
    again = run(steering, MadeUp(needed=50), 300, start=640)
    assert again[0].action == "walk"
    assert not steering.exact
    assert not steering.rebuild


def test_a_rebuild_is_asked_for_no_more_once_the_floor_is_held():
    steering = controller(64, max_ef=128)
    run(steering, MadeUp(needed=5000), 120)
    run(steering, MadeUp(needed=60), 240, start=120)
    assert not steering.rebuild


def test_the_highest_floor_decides():
    """A scenario that asks for 0.98 raises the effort that others would leave alone; theirs does not lower it."""
    shard = MadeUp(needed=100, alike=50)
    steering = controller(110)
    for i in range(300):
        searches = shard.searches(steering.effort)
        strict = [dataclasses.replace(sample, floor=0.98) for sample in searches[:16]]
        steering.observe([*strict, *searches[16:]], ROUND_S * i)
    assert shard.recall(steering.effort) >= 0.975
    assert steering.held is not None
    assert steering.held.floor == 0.98


def test_a_scenario_cannot_ask_for_less_than_the_shard_holds():
    steering = controller(64)
    steering.observe([Sample(0.6, floor=0.5)] * 32, 0.0)
    assert steering.effort > 64
