"""Dislikes among the interactions: whose they are, which count, and what splits leave of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.scenarios import default_event_types
from recsys.data.dislikes import Dislikes
from recsys.data.interactions import Interactions
from recsys.datatypes import Interaction
from recsys.evaluation.splits import leave_last_out, since
from recsys.jobs.live_events import NewestEvents

ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"), st.sampled_from("abcd"), st.integers(0, 6), st.sampled_from([-0.5, 0.0, 0.2, 1.0])
    ),
    max_size=24,
)


def of(rows: list[tuple[str, str, float, float]]) -> Interactions:
    users, items, times, weights = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Interactions.of(users, items, times, weights, list("abcd"))


def dislikes(data: Interactions) -> dict[str, list[tuple[str, float]]]:
    """Item and time, by user."""
    if (against := data.disliked) is None:
        return {}
    told = {}
    for u, user in enumerate(data.user_ids):
        own = slice(*against.offsets[u : u + 2].tolist())
        if rows := [
            (data.item_ids[i], t) for i, t in zip(against.items[own], against.times[own].tolist(), strict=True)
        ]:
            told[user] = rows
    return told


@given(ROWS, st.randoms())
def test_the_newest_word_decides_in_whatever_order_rows_come(rows, random) -> None:
    """Against a plain count: the newest moment's least weight under 0 is a dislike, of users who like something."""
    newest: dict[tuple[str, str], tuple[float, float]] = {}
    for user, item, time, weight in rows:
        before = newest.get((user, item), (-1.0, 0.0))
        if time > before[0] or (time == before[0] and weight < before[1]):
            newest[user, item] = (time, weight)
    data = of(rows)
    expected: dict[str, list[tuple[str, float]]] = {}
    for (user, item), (time, weight) in sorted(newest.items(), key=lambda one: (one[1][0], one[0][1])):
        if weight < 0 and user in data.user_ids:
            expected.setdefault(user, []).append((item, float(time)))
    assert dislikes(data) == expected
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert dislikes(of(shuffled)) == expected
    assert of(shuffled).sha256() == data.sha256()


def test_they_go_with_their_users() -> None:
    """Selected, repeated, cut to the newest, and without users who have nothing else."""
    data = of([("u", "a", 1, 1.0), ("u", "b", 2, -0.5), ("v", "c", 3, 1.0), ("v", "a", 4, -0.5), ("w", "d", 5, -0.5)])
    assert data.user_ids == ["u", "v"]
    twice = data.select(np.array([1, 1, 0]))
    assert [data.item_ids[i] for n in range(3) for i in twice.disliked.of_user(n)] == ["a", "a", "b"]
    assert dislikes(data.where(data.times > 2)) == {"u": [("b", 2.0)], "v": [("a", 4.0)]}
    assert dislikes(data.newest(1)) == {"v": [("a", 4.0)]}
    assert data.sha256() != of([("u", "a", 1, 1.0), ("v", "c", 3, 1.0)]).sha256()


def test_a_split_teaches_nothing_that_was_said_after_it() -> None:
    """The training part has the dislikes up to it; the cases know all of their user's."""
    rows = [("u", item, n, 1.0) for n, item in enumerate("abc")] + [("u", "d", 1.5, -0.5)]
    late = [*rows[:-1], ("u", "d", 2.5, -0.5)]
    assert dislikes(leave_last_out(of(late)).train) == {}
    assert dislikes(leave_last_out(of([*rows[:-1], ("u", "d", 0.5, -0.5)])).train) == {"u": [("d", 0.5)]}
    split = since(of(rows), 1.2)
    assert dislikes(split.train) == {}
    assert split.disliked.of_user(0).tolist() == [3]
    assert split.sample(1, 7).disliked.of_user(0).tolist() == [3]


def test_live_histories_keep_them() -> None:
    """Read in pages, each with other items."""
    events = [
        Interaction(f"{n}", user, item, kind, n)
        for n, (user, item, kind) in enumerate([("u", "a", "like"), ("u", "b", "dislike"), ("v", "c", "like")])
    ]
    newest = NewestEvents(default_event_types(), list("abcd"), 100)
    newest.add([events[:2]])
    newest.add([events[2:]])
    assert dislikes(newest.interactions()) == {"u": [("b", 1.0)]}


def test_they_are_cut_by_time() -> None:
    """For all users alike, or for each at a moment of its own."""
    made = Dislikes(np.array([0, 2, 4]), np.arange(4), np.array([1.0, 4.0, 2.0, 3.0]))
    assert made.since(3.0).items.tolist() == [1, 3]
    assert made.until(np.array([1.0, 9.0])).items.tolist() == [0, 2, 3]
