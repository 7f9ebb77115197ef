"""Folding interactions into a profile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.scenarios import EventType
from recsys.config.serving import Serving
from recsys.datatypes import Interaction, UserProfile, item_keys, unknown_user
from recsys.model.profiles import RECENT, SESSION_GAP_S, TRAIL, fold, position
from recsys.model.space import Space
from recsys.model.taste import Taste, needed

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


def folded(history, profile=None) -> UserProfile:
    made = fold(unknown_user(D) if profile is None else profile, history, VECTORS, TASTE, 9)
    assert made is not None
    return made


@given(events, st.lists(st.integers(0, 15), max_size=5))
def test_folding_in_parts_is_folding_at_once(history, cuts):
    """Whatever the parts: the same taste, seen items and recent items; where a part cannot be folded, a rebuild."""
    whole = folded(history)
    profile, edges = unknown_user(D), sorted({0, len(history), *(c for c in cuts if c < len(history))})
    for start, end in itertools.pairwise(edges):
        profile = fold(profile, history[start:end], VECTORS, TASTE, 9) or folded(history[:end])
    np.testing.assert_allclose(profile.taste, whole.taste, atol=1e-5)
    assert profile.seen.tolist() == whole.seen.tolist() == sorted(set(item_keys(e.item_id for e in history).tolist()))
    assert profile.recent == whole.recent
    assert (profile.session, profile.session_at) == (whole.session, whole.session_at)
    for column in ("recent_vectors", "felt", "trail", "trail_weights", "trail_at"):
        np.testing.assert_array_equal(getattr(profile, column), getattr(whole, column))
    assert profile.likes == whole.likes
    assert (whole.taste.dtype, whole.recent_vectors.dtype, whole.seen.dtype) == (np.float32, np.float32, np.uint64)


@given(events)
def test_fold_is_its_formula(history):
    """The likes that stand halve every `half_life` later likes; unknown items and non-likes leave the taste alone."""
    words: dict[str, tuple[float, int]] = {}
    number, last = 0, ""
    told = [e for e in history if e.type in TYPES]
    stands = [
        all(TASTE.weight(e) * TASTE.weight(f) > 0 for f in told[n:] if f.item_id == e.item_id)
        for n, e in enumerate(told)
    ]
    for e, counts in zip(told, stands, strict=True):
        weight = TASTE.weight(e)
        if not counts or e.item_id not in VECTORS:
            continue
        before = words.pop(e.item_id, (0.0, 0))[0]
        number += not (last == e.item_id and before > 0)
        last = e.item_id if weight > 0 else ""
        words[e.item_id] = (max(weight, before) if before > 0 else weight, number)
    expected = sum((w * 0.5 ** ((number - n) / 2.0) * VECTORS[i] for i, (w, n) in words.items()), np.zeros(D))
    made = folded(history)
    np.testing.assert_allclose(made.taste, expected, atol=1e-4)
    assert made.sequence == 9
    newest_first = [i for i, (w, _) in reversed(words.items()) if w > 0]
    assert list(made.recent) == newest_first[:RECENT]
    np.testing.assert_array_equal(made.recent_vectors, [VECTORS[i] for i in made.recent] or np.zeros((0, D)))
    assert set(needed(history, TASTE, Space(text=D))) & VECTORS.keys() == words.keys()


def test_the_newest_word_about_an_item_counts():
    """Liked and disliked twenty times, an item has only been seen; liked once more, it is liked."""
    fickle = [event("i0", kind) for _ in range(20) for kind in ("like", "hide")]
    made = folded([event("i1"), *fickle])
    seen = folded([event("i1"), event("i0", "hide")])
    for column in ("taste", "seen", "felt", "trail", "trail_weights"):
        np.testing.assert_array_equal(getattr(made, column), getattr(seen, column))
    assert made.recent == seen.recent == ("i1",)
    again = folded([event("i1"), *fickle, event("i0")])
    np.testing.assert_allclose(again.taste, VECTORS["i0"] + 0.5**0.5 * VECTORS["i1"], atol=1e-6)
    assert folded([event("i0", "rating", 5.0), event("i0", "rating", 1.0)]).cold


def test_likes_of_one_item_are_one_like():
    """The newest says when, the strongest how much; in a row they age nothing."""
    steps = [event("i1"), event("i0", "view"), event("i0", "rating", 5.0), event("i0", "view")]
    made = folded(steps)
    np.testing.assert_allclose(made.taste, 2.0 * VECTORS["i0"] + 0.5**0.5 * VECTORS["i1"], atol=1e-6)
    assert (made.likes, made.trail_weights.tolist()) == (2, [2.0, 1.0])
    again = folded([event("i1")], made)
    expected = VECTORS["i1"] + 0.5**0.5 * 2.0 * VECTORS["i0"]
    np.testing.assert_allclose(again.taste, expected, atol=1e-6)


def test_what_takes_back_a_like_of_the_profile_asks_for_a_rebuild():
    """And so does a word about a like that has left the trail; an event of a type that is gone says nothing."""
    liked = folded([event("i0"), event("i1")])
    assert fold(liked, [event("i0", "hide")], VECTORS, TASTE, 9) is None
    assert fold(liked, [event("i0", "hate")], VECTORS, TASTE, 9) is None
    assert fold(liked, [event("i0", "hide"), event("i0")], VECTORS, TASTE, 9) is None
    assert fold(liked, [event("i2", "hide")], VECTORS, TASTE, 9) is not None
    np.testing.assert_array_equal(folded([event("i0", "unheard of")], liked).taste, liked.taste)
    many = {f"m{n}": vector for n, vector in enumerate(np.eye(TRAIL + 1, D, dtype=np.float32))}
    long_ago = fold(unknown_user(D), [event(i) for i in many], many, TASTE, 9)
    assert fold(long_ago, [event("m0")], many, TASTE, 9) is None
    assert fold(long_ago, [event("m1")], many, TASTE, 9) is not None


def test_only_likes_that_matter_need_vectors():
    """Ten half-lives of a taste of texts, what is left out weighs under a thousandth; else all likes."""
    history = [event(f"i{n}") for n in range(500)]
    vectors = {f"i{n}": v for n, v in enumerate(np.random.default_rng(1).standard_normal((500, D)).astype(np.float32))}
    wanted = needed(history, TASTE, Space(text=D))
    assert wanted == [f"i{n}" for n in range(499, 479, -1)]
    whole = fold(unknown_user(D), history, vectors, TASTE, 9)
    made = fold(unknown_user(D), history, {i: vectors[i] for i in wanted}, TASTE, 9)
    assert made.seen.tolist() == whole.seen.tolist()
    assert np.linalg.norm(made.taste - whole.taste) < 0.005 * np.linalg.norm(whole.taste)
    assert len(needed(history, TASTE, Space(text=D, learned=2))) == 500
    taken_back = [*history, *(event(f"i{n}", "hide") for n in range(490, 500))]
    assert needed(taken_back, TASTE, Space(text=D))[0] == "i489"


@pytest.mark.parametrize("other", [Taste(TYPES, 3.0), Taste(TYPES | {"like": EventType(weight=0.9)}, 2.0)])
def test_other_settings_have_another_fingerprint(other):
    """So that profiles made with the settings of before are not taken for up to date."""
    assert other.fingerprint != TASTE.fingerprint == Taste(dict(reversed(TYPES.items())), 2.0).fingerprint
    assert len(other.fingerprint) == 8


def test_a_like_halves_after_the_half_life():
    """Two later likes of other items halve the weight of the first."""
    profile = fold(
        unknown_user(D),
        [event("i0"), event("i1"), event("i2")],
        dict(zip(("i0", "i1", "i2"), np.eye(D), strict=False)),
        TASTE,
        1,
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


def test_a_dislike_pushes_the_taste_away_and_is_no_taste_by_itself():
    """By its weight; somebody who only dislikes things is cold."""
    assert folded([event("i0", "hate")]).cold
    liked, both = folded([event("i1")]), folded([event("i1"), event("i0", "hate")])
    assert not both.cold
    assert both.taste @ VECTORS["i0"] < liked.taste @ VECTORS["i0"]
    assert both.recent == ("i1",)


@pytest.mark.parametrize(
    ("kind", "value", "weight"),
    [("rating", 4.0, 2.0), ("rating", 3.9, 0.0), ("rating", None, 0.0), ("like", None, 1.0), ("gone", 5.0, 0.0)],
)
def test_what_an_event_weighs(kind, value, weight):
    """From `liked_from` on a value is a like; a type that is no longer declared is none."""
    assert TASTE.weight(event("i0", kind, value)) == weight


def test_the_default_event_types_have_weights():
    """A dislike pushes away; a purchase says more than a view."""
    types = Serving().event_types
    assert types["dislike"].weight < 0
    assert types["purchase"].weight > types["view"].weight > 0
