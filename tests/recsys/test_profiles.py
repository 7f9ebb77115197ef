"""Folding interactions into a profile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import EventType, Serving
from recsys.datatypes import Interaction, item_keys, unknown_user
from recsys.profiles import RECENT, SESSION_GAP_S, Taste, fold, position

D = 4
ITEMS = [f"i{n}" for n in range(8)]
VECTORS = dict(zip(ITEMS[:6], np.random.default_rng(0).standard_normal((6, D)).astype(np.float32), strict=True))
TYPES = {
    "like": EventType(weight=1.0),
    "view": EventType(weight=0.25),
    "hide": EventType(weight=0.0),
    "hate": EventType(weight=-1.0),
    "rating": EventType(weight=2.0, liked_from=4.0),
}
TASTE = Taste(TYPES, half_life=2.0)


def event(item_id: str, kind: str = "like", value: float | None = None, at: float = 0.0) -> Interaction:
    return Interaction("e", "u", item_id, kind, at, value)


events = st.lists(
    st.builds(
        event,
        st.sampled_from(ITEMS),
        st.sampled_from([*TYPES, "unheard of"]),
        st.sampled_from([None, 1.0, 4.0, 5.0]),
        st.sampled_from([0.0, 1000.0, 2000.0, 9000.0]),
    ),
    max_size=15,
).map(lambda made: sorted(made, key=lambda e: e.timestamp))


@given(events, st.lists(st.integers(0, 15), max_size=5))
def test_folding_in_parts_is_folding_at_once(history, cuts):
    """Whatever the parts: the same taste, seen items and recent items."""
    whole = fold(unknown_user(D), history, VECTORS, TASTE, 9)
    profile, edges = unknown_user(D), sorted({0, len(history), *(c for c in cuts if c < len(history))})
    for start, end in itertools.pairwise(edges):
        profile = fold(profile, history[start:end], VECTORS, TASTE, 9)
    np.testing.assert_allclose(profile.taste, whole.taste, atol=1e-5)
    assert profile.seen.tolist() == whole.seen.tolist() == sorted(set(item_keys(e.item_id for e in history).tolist()))
    assert profile.recent == whole.recent
    assert (profile.session, profile.session_at) == (whole.session, whole.session_at)
    np.testing.assert_array_equal(profile.recent_vectors, whole.recent_vectors)
    assert (whole.taste.dtype, whole.recent_vectors.dtype, whole.seen.dtype) == (np.float32, np.float32, np.uint64)


@given(events)
def test_fold_is_its_formula(history):
    """Likes halve every `half_life` later likes; unknown items and non-likes leave the taste alone."""
    likes = [(TASTE.weight(e), VECTORS[e.item_id]) for e in history if TASTE.weight(e) and e.item_id in VECTORS]
    expected = sum((w * 0.5 ** ((len(likes) - 1 - i) / 2.0) * v for i, (w, v) in enumerate(likes)), np.zeros(D))
    made = fold(unknown_user(D), history, VECTORS, TASTE, 3)
    np.testing.assert_allclose(made.taste, expected, atol=1e-4)
    assert made.sequence == 3
    newest_first = dict.fromkeys(e.item_id for e in reversed(history) if TASTE.weight(e) > 0 and e.item_id in VECTORS)
    assert list(made.recent) == list(newest_first)[:RECENT]
    np.testing.assert_array_equal(made.recent_vectors, [VECTORS[i] for i in made.recent] or np.zeros((0, D)))


def test_a_like_halves_after_the_half_life():
    """Two later likes of another item halve the weight of the first."""
    profile = fold(
        unknown_user(D), [event("i0"), event("i1"), event("i1")], {"i0": np.eye(D)[0], "i1": np.eye(D)[1]}, TASTE, 1
    )
    assert profile.taste[0] == pytest.approx(0.5)


def test_the_position_in_a_session_is_what_was_liked_without_a_pause_of_half_an_hour():
    """Each item once, and only likes: as in what is learned from. Then a pause; then the session is over."""

    def told(*events: tuple[str, str, float]):
        return fold(unknown_user(D), [event(item, kind, at=at) for item, kind, at in events], VECTORS, TASTE, 1)

    first = told(("i0", "like", 0.0), ("i0", "view", 10.0), ("i1", "hide", 20.0), ("i7", "view", 1700.0))
    assert (first.session, first.session_at) == (2, 1700.0)
    assert [position(first, now) for now in (1700.0, 1700.0 + SESSION_GAP_S, 1701.0 + SESSION_GAP_S)] == [2, 2, 0]
    again = fold(first, [event("i0", at=1800.0), event("i2", at=1900.0)], VECTORS, TASTE, 2)
    assert (again.session, again.session_at) == (3, 1900.0)  # i0 is known
    later = fold(again, [event("i3", at=1901.0 + SESSION_GAP_S)], VECTORS, TASTE, 3)
    assert position(later, 1901.0 + SESSION_GAP_S) == 1
    assert position(unknown_user(D), -1e9) == position(unknown_user(D), 1e9) == 0


def test_no_like_leaves_a_cold_user_who_has_seen_things():
    """Hidden, disliked and unknown items count as seen and say nothing of the taste."""
    profile = fold(unknown_user(D), [event("i0", "hide"), event("i1", "rating", 2.0), event("i7")], VECTORS, TASTE, 1)
    assert profile.cold
    assert len(profile.seen) == 3
    assert profile.recent == ()


@pytest.mark.parametrize(
    ("kind", "value", "weight"),
    [("rating", 4.0, 2.0), ("rating", 3.9, 0.0), ("rating", None, 0.0), ("like", None, 1.0), ("gone", 5.0, 0.0)],
)
def test_what_an_event_weighs(kind, value, weight):
    """From `liked_from` on a value is a like; a type that is no longer declared is none."""
    assert TASTE.weight(event("i0", kind, value)) == weight


def test_the_default_event_types_have_weights():
    """A dislike is seen and nothing more; a purchase says more than a view."""
    types = Serving().event_types
    assert types["dislike"].weight == 0
    assert types["purchase"].weight > types["view"].weight > 0
