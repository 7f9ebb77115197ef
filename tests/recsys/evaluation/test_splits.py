"""What is kept from training: by hand on few users, and the promises on the real ratings."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.serving import Serving
from recsys.data.interactions import Interactions
from recsys.datatypes import Interaction
from recsys.evaluation.splits import by_time, leave_last_out, rolling, upcoming
from recsys.reading.dataset_folder import weighted
from recsys.state.tie_breaking import tie


def of(rows: list[tuple[str, str, float]], **given) -> Interactions:
    users, items, times = zip(*rows, strict=True)
    return Interactions.of(users, items, times, **given)


def test_histories_are_in_order_of_time_and_then_of_ties():
    """Whatever the order of the rows; of an item that comes twice the newest stays."""
    rows = [("b", "z", 5), ("a", "y", 9), ("a", "x", 10), ("a", "w", 9), ("a", "x", 1)]
    data = of(rows)
    assert list(data.user_ids) == ["a", "b"]
    tied = sorted("yw", key=lambda item: tie("a", item))
    assert [data.item_ids[i] for i in data.of_user(0)] == [*tied, "x"]
    assert of(rows[::-1]).sha256() == data.sha256()
    assert data.ages.tolist() == [2, 1, 0, 0]


def test_an_item_that_comes_twice_stands_where_it_was_liked_last():
    """A view, a purchase and another view of x: it stands at the last of them, at what a purchase weighs."""
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("a", "x", 4), ("a", "z", 5)]
    data = of(rows, weights=[0.2, 0.5, 1.5, 0.2, 0.5])
    assert [data.item_ids[i] for i in data.of_user(0)] == ["y", "x", "z"]
    assert (data.times.tolist(), data.weights.tolist()) == ([2, 4, 5], [0.5, 1.5, 0.5])


def test_a_later_dislike_takes_back_what_was_liked_before():
    """Nothing is learned from it, whatever the order of the rows; a like after that is a like of its own weight."""
    rows = [("a", "x", 3), ("a", "x", 1), ("b", "x", 1), ("b", "x", 2), ("b", "x", 3), ("c", "y", 1)]
    data = of(rows, weights=[0, 1.5, 1.5, -1, 0.2, 1])
    assert list(data.user_ids) == ["b", "c"]
    assert data.weights.tolist() == [np.float32(0.2), 1.0]
    told = [
        Interaction(f"e{n}", u, "x", kind, n)
        for n, (u, kind) in enumerate(
            [("a", "like"), ("a", "dislike"), ("b", "dislike"), ("b", "like"), ("c", "like"), ("c", "unheard of")]
        )
    ]
    assert list(weighted(told, Serving().event_types, ["x"]).user_ids) == ["b", "c"]


def test_what_has_no_weight_or_no_item_is_left_out():
    data = of([("a", "x", 1), ("a", "y", 2), ("b", "q", 3)], weights=[1, 0, 1], catalogue=["y", "x"])
    assert (list(data.user_ids), data.items.tolist()) == (["a"], [1])
    assert data.counts().tolist() == [0.0, 1.0]


def test_leave_last_out_asks_for_the_last_of_three_or_more():
    """A user of two trains with both and is not asked about."""
    data = of([("a", i, n) for n, i in enumerate("xyz")] + [("b", "x", 0), ("b", "y", 1)])
    held = leave_last_out(data)
    assert held.cases == 1
    assert [data.item_ids[i] for i in held.targets] == ["z"]
    assert [data.item_ids[i] for i in held.histories.of_user(0)] == ["x", "y"]
    assert held.train.lengths.tolist() == [2, 2]


@pytest.fixture(scope="module")
def ratings(data) -> Interactions:
    import orjson  # noqa: PLC0415

    events = [orjson.loads(line) for line in data.events_file.read_bytes().splitlines()]
    return of([(e["user_id"], e["item_id"], e["timestamp"]) for e in events])


@pytest.mark.parametrize("split", [leave_last_out, rolling, by_time])
def test_nothing_that_is_asked_for_was_seen(ratings, split):
    """No target is in its case's history or, as that user's, in the training part; histories come before targets."""
    held = split(ratings)
    number = {user: u for u, user in enumerate(held.train.user_ids)}
    for case in range(held.cases):
        targets = held.targets[held.target_offsets[case] : held.target_offsets[case + 1]]
        assert len(targets)
        assert not np.isin(targets, held.histories.of_user(case)).any()
        assert not np.isin(targets, held.train.of_user(number[held.histories.user_ids[case]])).any()
        history = held.histories.times[held.histories.offsets[case] : held.histories.offsets[case + 1]]
        assert history.max() <= held.now[case]


def test_validation_never_sees_the_test(ratings):
    """The validation of what leave-last-out leaves for training holds no test target of the same user."""
    test = leave_last_out(ratings)
    validation = rolling(test.train)
    asked = dict(zip(test.histories.user_ids, test.targets.tolist(), strict=True))
    for user, target in zip(validation.histories.user_ids, validation.targets.tolist(), strict=True):
        assert asked.get(user) != target
    assert validation.cases > 4 * test.cases


def test_one_moment_parts_all(ratings):
    held = by_time(ratings)
    assert held.train.times.max() <= held.now[0]
    assert (held.now == held.now[0]).all()
    assert len(held.train) == pytest.approx(0.9 * len(ratings), rel=0.01)


def test_what_comes_next_is_asked_of_one_moment_or_else_of_everybody():
    """Of one moment where fifty users come back after it; where people come once, one after the other, of all."""
    together = of([(f"u{u}", f"i{n}", float(n)) for u in range(60) for n in range(10)])
    assert upcoming(together).now.tolist() == by_time(together).now.tolist()
    assert upcoming(together).cases == 60
    in_turn = of([(f"u{u}", f"i{n}", float(10 * u + n)) for u in range(60) for n in range(10)])
    assert by_time(in_turn).cases == 0
    assert upcoming(in_turn).now.tolist() == rolling(in_turn).now.tolist()
