"""Pins and promotions, against a plain reading of what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.ranking.picking import PICKS, with_pin
from recsys.ranking.placement import Placement, Placing, place, placed

SIZE = 24
items = st.lists(st.integers(0, SIZE - 1), unique=True, max_size=SIZE)
pins = st.builds(
    lambda rows, position: Placement(np.array(sorted(rows), np.int64), position), items, st.integers(1, 15)
)
promotions = st.builds(
    lambda rows, share: Placement(np.array(sorted(rows), np.int64), share=share), items, st.floats(0.01, 1)
)


def slate_of(k: int, order: list[int], placements: list[Placement]) -> list[int]:
    ranked = np.array(order, np.int64)
    return placed(ranked[:k], ranked, placements).tolist()


@given(st.integers(1, 15), st.permutations(range(SIZE)), st.lists(st.one_of(pins, promotions), max_size=4))
def test_a_slate_stays_as_long_and_holds_no_item_twice(k, order, placements):
    """Whatever the rules are."""
    slate = slate_of(k, order, placements)
    assert len(slate) == len(set(slate)) == k
    assert set(slate) <= set(order)


@given(st.integers(1, 15), st.permutations(range(SIZE)), st.lists(pins, max_size=3))
def test_a_pin_puts_the_best_match_in_its_place(k, order, placements):
    """Rule by rule: the best match that is not pinned yet, at the first free place from the position on, else the last
    free one; all other items stay in their order.
    """
    slate = slate_of(k, order, placements)
    expected: dict[int, int] = {}
    for pin in placements:
        match = next((i for i in order if i in pin.rows and i not in expected.values()), None)
        free = [place for place in range(k) if place not in expected]
        if match is not None and free:
            behind = [place for place in free if place >= pin.position - 1]
            expected[behind[0] if behind else free[-1]] = match
    others = iter([i for i in order if i not in expected.values()])
    assert slate == [expected[place] if place in expected else next(others) for place in range(k)]


@given(st.integers(1, 15), st.permutations(range(SIZE)), promotions)
def test_a_promotion_gives_its_matches_their_share(k, order, promotion):
    """At least the share where there are so many matches, and no more than needed; the best matches, the best of the
    others, each kind in its order.
    """
    slate = slate_of(k, order, [promotion])
    matches = [i for i in order if i in promotion.rows]
    before = [i for i in order[:k] if i in promotion.rows]
    wanted = min(int(promotion.share * k + 0.5), len(matches))
    inside = [i for i in slate if i in promotion.rows]
    assert len(inside) == max(wanted, len(before))
    assert sorted(inside, key=order.index) == matches[: len(inside)]
    others = [i for i in slate if i not in promotion.rows]
    assert others == [i for i in order if i not in promotion.rows][: len(others)]


@given(st.integers(2, 15), st.permutations(range(SIZE)), st.integers(1, SIZE - 1), st.floats(0.05, 0.45))
def test_a_later_promotion_takes_nothing_from_an_earlier_one(k, order, split, share):
    """Two promotions of other items, of under half of the slate each, both have their shares."""
    parts = [np.arange(split), np.arange(split, SIZE)]
    slate = slate_of(k, order, [Placement(rows, share=share) for rows in parts])
    for rows in parts:
        assert len([i for i in slate if i in rows]) >= min(int(share * k + 0.5), len(rows))


requests = st.lists(st.tuples(st.permutations(range(SIZE)), items), min_size=1, max_size=5)
of_batch = st.one_of(st.integers(1, 15).map(lambda n: (n, 0.0)), st.floats(0.01, 1).map(lambda share: (0, share)))


@given(requests, st.integers(1, 15), st.lists(of_batch, min_size=1, max_size=2), st.data())
def test_requests_together_get_the_places_that_each_gets_alone(drawn, k, rules, data):
    """Those that share the rules; others stay as they are, and a list that goes on has no pin."""
    offsets = np.arange(len(drawn) + 1) * SIZE
    ranked = [np.array(order) + start for (order, _), start in zip(drawn, offsets[:-1].tolist(), strict=True)]
    sharing = data.draw(st.lists(st.integers(0, len(drawn) - 1), unique=True, min_size=1).map(sorted))
    going_on = data.draw(st.sets(st.sampled_from(sharing), max_size=1))
    matches = [sorted(start + n for n in own) for (_, own), start in zip(drawn, offsets[:-1].tolist(), strict=True)]
    placements = [Placement(np.array([*itertools.chain(*matches)], np.int64), *rule) for rule in rules]
    slates = [rows[:k] for rows in ranked]
    place(slates, ranked, offsets, Placing(sharing, placements), going_on)
    for b, (slate, rows, own) in enumerate(zip(slates, ranked, matches, strict=True)):
        mine = [Placement(np.array(own, np.int64), *rule) for rule in rules if not (rule[0] and b in going_on)]
        expected = placed(rows[:k], rows, mine) if b in sharing else rows[:k]
        assert slate.tolist() == expected.tolist()


@pytest.mark.skipif(PICKS is None, reason="recsys/ranking/picks.c was not compiled at install")
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(1, 15), st.integers(1, 15), st.integers(0, 2**32)
)
def test_compiled_code_pins_the_same(sizes: list[int], k: int, position: int, seed: int) -> None:
    """Of requests with as many candidates as are asked for, with fewer or none, with matches or without."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *sizes])
    ranked = [start + rng.permutation(size) for start, size in zip(offsets[:-1].tolist(), sizes, strict=True)]
    order = np.concatenate(ranked).astype(np.int64)
    rows = np.flatnonzero(rng.random(len(order)) < 0.2)
    most = [k + b % 2 for b in range(len(sizes))]
    slates = [own[:size] for own, size in zip(ranked, most, strict=True)]
    place(slates, ranked, offsets, Placing(range(len(sizes)), [Placement(rows, position)]))
    ours = with_pin(offsets, order, most, rows, position)
    assert ours is not None
    assert [one.tolist() for one in ours] == [one.tolist() for one in slates]


@pytest.mark.skipif(PICKS is None, reason="recsys/ranking/picks.c was not compiled at install")
@pytest.mark.parametrize(("order", "rows", "k"), [([0, 2], [0], [2]), ([0, 1], [2], [2]), ([0, 1], [0], [1, 1])])
def test_arrays_that_do_not_fit_are_refused(order: list[int], rows: list[int], k: list[int]) -> None:
    assert PICKS is not None
    slates = np.empty(sum(k), np.int64)
    with pytest.raises(ValueError, match="do not fit each other"):
        PICKS.pinned(np.array([0, 2]), np.array(order), np.array(rows), np.array(k), 1, slates)
