"""Cutting and spreading, against a plain reading of the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from recsys.datatypes import item_keys
from recsys.ranking.placement import Placement, Placing
from recsys.ranking.selection import POOL, Controls, top
from recsys.shard.candidates import QUERY, TASTE, CandidateSet
from recsys.shard.sketches import unit
from recsys.shard.sources import BITS
from recsys.shard.trail_measures import LIKENESS
from tests.support.plain_candidates import candidates


@given(st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=8), st.integers(1, 10)), min_size=1, max_size=5))
def test_the_top_is_the_best_k_with_ties_by_key(requests):
    """For every request of the batch, among its own candidates; empty for one that has none."""
    scores = [s for own, _ in requests for s in own]
    made = top(
        candidates([len(own) for own, _ in requests]),
        np.array(scores, np.float32),
        [Controls(k) for _, k in requests],
    )
    start = 0
    for slate, (own, k) in zip(made, requests, strict=True):
        expected = sorted(range(len(own)), key=lambda i, own=own: (-own[i], i))[:k]
        assert slate.tolist() == [start + i for i in expected]
        start += len(own)


def naive_mmr(scores: np.ndarray, sketches: np.ndarray, k: int, share: float) -> list[int]:
    """One request, step by step; likeness below zero is no likeness."""
    pool = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: max(POOL, 3 * k)]
    low, high = min(scores[pool]), max(scores[pool])
    relevance = {i: (scores[i] - low) / max(high - low, 1e-9) for i in pool}
    vectors = unit(sketches)
    chosen: list[int] = []
    while len(chosen) < min(k, len(pool)):
        value = {
            i: (1 - share) * relevance[i] - share * max([0.0, *(float(vectors[i] @ vectors[c]) for c in chosen)])
            for i in pool
            if i not in chosen
        }
        chosen.append(max(value, key=value.get))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_spread_is_mmr_for_every_request_of_the_batch(seed):
    """Requests of different sizes, k and shares in one batch are each spread as a plain loop spreads them."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.choice([0, 1, 3, 40, 80], 6)]
    n = sum(sizes)
    scores = rng.random(n).astype(np.float32)
    sketches = rng.integers(-127, 128, (n, 6)).astype(np.int8)
    k = [int(x) for x in rng.integers(1, 30, 6)]
    share = [float(x) for x in rng.choice([0.0, 0.1, 0.5, 1.0], 6)]
    made = top(candidates(sizes, sketches=sketches), scores, [Controls(*asked) for asked in zip(k, share, strict=True)])
    start = 0
    for slate, size, own_k, own_share in zip(made, sizes, k, share, strict=True):
        own = slice(start, start + size)
        if own_share == 0:
            expected = np.argsort(-scores[own], kind="stable")[:own_k].tolist()
        else:
            expected = naive_mmr(scores[own], sketches[own], own_k, own_share) if size else []
        assert (slate - start).tolist() == expected
        start += size


def test_diversity_breaks_up_twins():
    """Two twins lead; with half the weight on spread the second of them gives way to the one that is different."""
    twins = np.array([[100, 0], [100, 0], [0, 100]], np.int8)
    scores = np.array([1.0, 0.99, 0.6], np.float32)
    given_candidates = candidates([3], sketches=twins)
    assert top(given_candidates, scores, [Controls(2)])[0].tolist() == [0, 1]
    assert top(given_candidates, scores, [Controls(2, 0.5)])[0].tolist() == [0, 2]
    assert sorted(top(given_candidates, scores, [Controls(3, 1.0)])[0].tolist()) == [0, 1, 2]


def naive_caps(values: list[int], scores: list[int], k: int, cap: int) -> list[int]:
    """One request, step by step: who is over the cap waits at the end."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    taken, over, seen = [], [], {}
    for i in order:
        seen[values[i]] = seen.get(values[i], 0) + 1
        (over if values[i] and seen[values[i]] > cap else taken).append(i)
    return [*taken, *over][:k]


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12)


@given(st.lists(st.tuples(rows, st.integers(1, 8), st.integers(1, 3)), min_size=1, max_size=4))
def test_caps_hold_for_each_value_and_give_way_where_too_few_are_left(requests):
    """At most `cap` items of one value come before all others; without a value all are free; no slate is shorter."""
    values = [v for own, _, _ in requests for v, _ in own]
    made = top(
        candidates([len(own) for own, _, _ in requests], groups=np.array(values, np.uint64).reshape(-1, 1)),
        np.array([s for own, _, _ in requests for _, s in own], np.float32),
        [Controls(k, caps={"genre": cap}) for _, k, cap in requests],
        ["genre"],
    )
    start = 0
    for slate, (own, k, cap) in zip(made, requests, strict=True):
        expected = naive_caps([v for v, _ in own], [s for _, s in own], k, cap)
        assert (slate - start).tolist() == expected
        start += len(own)


def likes(counts: list[float]) -> np.ndarray:
    return np.array([[count, -np.inf, np.nan] for count in counts])


def test_new_items_get_their_share_at_equal_distances():
    """Two of ten places go to the two best new items, at 5 and 10; the others keep their order."""
    scores = np.arange(20, 0, -1).astype(np.float32)
    given = candidates([20], columns=likes([100.0] * 15 + [0.0, 4.0, 0.0, 0.0, 5.0]))
    slate = top(given, scores, [Controls(10, explore=0.2)])[0].tolist()
    assert slate == [0, 1, 2, 3, 15, 4, 5, 6, 7, 16]


@pytest.mark.parametrize("role", [QUERY, TASTE])
def test_of_new_items_those_come_first_that_are_most_alike(role):
    """To what was asked, or else to the taste, whatever the few events say; but after those within the caps."""
    alike = np.full((20, LIKENESS), np.nan, np.float32)
    alike[:, TASTE] = np.linspace(1, 0, 20)
    alike[15:, role] = [0.1, 0.2, 0.9, 0.3, 0.4]
    groups = np.arange(1, 21, dtype=np.uint64)[:, None]
    given = candidates([20], columns=likes([100.0] * 15 + [0.0] * 5), likeness=alike, groups=groups)
    scores = np.arange(20, 0, -1).astype(np.float32)
    assert top(given, scores, [Controls(10, explore=0.2)])[0].tolist()[4::5] == [17, 19]
    groups[17] = groups[0]  # 0 scores higher
    capped = Controls(10, explore=0.2, caps={"genre": 1})
    assert top(given, scores, [capped], ["genre"])[0].tolist()[4::5] == [19, 18]


def test_new_items_that_made_it_by_themselves_count():
    """A slate that has its share already is left as it is, and one without new candidates too."""
    scores = np.arange(6, 0, -1).astype(np.float32)
    leading = candidates([6], columns=likes([0.0] + [9.0] * 4 + [0.0]))
    assert top(leading, scores, [Controls(4, explore=0.25)])[0].tolist() == [0, 1, 2, 3]
    nothing_new = candidates([6], columns=likes([9.0] * 6))
    assert top(nothing_new, scores, [Controls(4, explore=1.0)])[0].tolist() == [0, 1, 2, 3]


def test_of_equal_items_the_best_then_the_newest_is_shown_first():
    """The others come after everything else and a slate is never shorter for them; each request for itself; items that
    were asked for keep their order.
    """
    columns = np.array([[0.0, 0.0, created] for created in (5, 9, 7, 1, 5, 5)], float)
    twins = np.array([8, 8, 8, 0, 8, 0], np.uint64)
    scores = np.array([0.9, 0.9, 0.8, 0.1, 0.5, 0.4], np.float32)
    given = candidates([4, 2], columns=columns, twins=twins)
    slates = top(given, scores, [Controls(3), Controls(2)])
    assert [slate.tolist() for slate in slates] == [[1, 3, 0], [4, 5]]
    asked = structs.replace(given, sources=np.full(6, BITS["asked"], np.int64))
    assert top(asked, scores, [Controls(4), Controls(2)])[0].tolist() == [0, 1, 2, 3]


def going_on(shown: list[int], **given) -> Controls:
    return Controls(after=tuple(f"i{i}" for i in shown), **given)


def with_keys_of_ids(given: CandidateSet) -> CandidateSet:
    """What was shown is told by ids, and found by their keys."""
    return structs.replace(given, keys=item_keys(given.ids.strings()))


@pytest.mark.parametrize("seed", range(5))
def test_a_list_goes_on_beside_what_was_shown(seed):
    """Spread as if the shown items had just been chosen; they do not come again, and others go their own way."""
    rng = np.random.default_rng(seed)
    scores, sketches = rng.random(80).astype(np.float32), rng.integers(-127, 128, (80, 6)).astype(np.int8)
    shown = rng.choice(40, 12, replace=False).tolist()
    given = with_keys_of_ids(candidates([40, 40], sketches=sketches))
    first, second = top(given, scores, [going_on(shown, k=9, diversity=0.5), Controls(9, 0.5)])
    rest = [i for i in range(40) if i not in shown]
    mine = scores[:40]
    low, high = min(mine[rest]), max(mine[rest])
    vectors, chosen = unit(sketches[:40]), list(shown)
    while len(chosen) < 12 + 9:
        value = {
            i: 0.5 * (mine[i] - low) / (high - low)
            - 0.5 * max([0.0, *(float(vectors[i] @ vectors[c]) for c in chosen)])
            for i in rest
            if i not in chosen
        }
        chosen.append(max(value, key=value.get))
    assert first.tolist() == chosen[12:]
    assert (second - 40).tolist() == naive_mmr(scores[40:], sketches[40:], 9, 0.5)


@given(rows, st.integers(1, 8), st.integers(1, 3), st.sets(st.integers(0, 11)))
def test_caps_count_what_was_shown(own, k, cap, drawn):
    """As many places fewer of each value are left."""
    shown = sorted(i for i in drawn if i < len(own))
    values, scores = [v for v, _ in own], [s for _, s in own]
    table = candidates([len(own)], groups=np.array(values, np.uint64).reshape(-1, 1))
    control = going_on(shown, k=k, caps={"genre": cap})
    [slate] = top(with_keys_of_ids(table), np.array(scores, np.float32), [control], ["genre"])
    lifted = [s + 100 * (i in shown) for i, s in enumerate(scores)]
    whole = naive_caps(values, lifted, len(own), cap)
    taken = [i for i in whole if i not in shown]
    assert sorted(slate.tolist()) == sorted(taken[:k]) or [scores[i] for i in slate] == [scores[i] for i in taken[:k]]


def test_what_equals_a_shown_item_comes_last_and_pins_are_over():
    """A twin of something shown gives way; a pin was for the list's beginning."""
    twins = np.array([7, 7, 0, 0], np.uint64)
    given = with_keys_of_ids(candidates([4], twins=twins))
    scores = np.array([4.0, 3.0, 2.0, 1.0], np.float32)
    pin = Placing([0], [Placement(np.array([3]), position=1)])
    [slate] = top(given, scores, [going_on([0], k=3)], placings=[pin])
    assert slate.tolist() == [2, 3, 1]
