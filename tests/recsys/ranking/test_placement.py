"""Pins and promotions, against a plain reading of what they promise."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
