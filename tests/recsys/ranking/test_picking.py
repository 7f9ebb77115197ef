"""The order of candidates and the items of slates by compiled code, beside those by numpy and Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.columns import StringColumn
from recsys.ranking.picking import LIKED, PICKS, matched, ordered, slates
from recsys.shard.candidates import BECAUSE, ROLES, CandidateSet
from tests.support.drawn_candidates import candidates_of

pytestmark = pytest.mark.skipif(PICKS is None, reason="recsys/ranking/picks.c was not compiled at install")

SCORES = (0.0, -0.0, 0.5, 0.5000001, -0.25, 1e-7, 3e8, np.inf, -np.inf, np.nan)
"""Among others, those whose order is delicate."""


def scores_of(rng: np.random.Generator, n: int) -> np.ndarray:
    scores = rng.standard_normal(n).astype(np.float32)
    delicate = rng.random(n) < 0.4
    scores[delicate] = rng.choice(np.array(SCORES, np.float32), int(delicate.sum()))
    return scores


@given(st.integers(0, 2**32), st.lists(st.integers(0, 120) | st.integers(250, 270), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_candidates_are_ordered_as_numpy_orders_them(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    candidates, scores = candidates_of(rng, sizes, some_rows=False, twins=False), scores_of(rng, sum(sizes))
    order = ordered(candidates, scores, PICKS)
    assert order is not None
    np.testing.assert_array_equal(order, np.lexsort((-scores, candidates.requests)))


@given(st.integers(0, 2**32), st.lists(st.integers(0, 5), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_equal_items_of_a_request_are_left_to_numpy(seed: int, sizes: list[int]) -> None:
    """0 is equal to none, and items of two requests do not count as equal."""
    rng = np.random.default_rng(seed)
    candidates = candidates_of(rng, sizes, some_rows=False, twins=True)
    parts = np.split(candidates.twins, candidates.offsets[1:-1])
    equal = any(len(part[part > 0]) != len(set(part[part > 0].tolist())) for part in parts)
    assert (ordered(candidates, scores_of(rng, sum(sizes)), PICKS) is None) == equal


@given(st.integers(0, 2**32), st.lists(st.integers(0, 30), min_size=1, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_slates_are_those_of_python(seed: int, sizes: list[int], some_rows: bool) -> None:
    """Ids, titles, ranks, rounded scores, sources, and reasons with the nearest like."""
    rng = np.random.default_rng(seed)
    candidates, scores = candidates_of(rng, sizes, some_rows=some_rows, twins=False), scores_of(rng, sum(sizes))
    chosen = [
        rng.permutation(np.arange(a, b))[:10]
        for a, b in zip(candidates.offsets[:-1], candidates.offsets[1:], strict=True)
    ]
    reasons = [lambda bits, near, b=b: ({"code": f"{b}-{bits}-{near}"},) for b in range(len(sizes))]
    ours = slates(candidates, scores, chosen, reasons, PICKS)
    theirs = slates(candidates, scores, chosen, reasons, None)
    assert repr(ours) == repr(theirs)  # a NaN is not itself


def test_the_nearest_like_counts_for_its_source_alone() -> None:
    rng = np.random.default_rng(1)
    candidates, asked = candidates_of(rng, [50], some_rows=False, twins=False), []
    candidates.likeness[:, BECAUSE:ROLES] = np.eye(ROLES - BECAUSE, dtype=np.float32)[np.arange(50) % 2]
    slates(candidates, scores_of(rng, 50), [np.arange(50)], [lambda *key: asked.append(key) or ()], PICKS)
    expected = [(bits, i % 2 if bits & LIKED else 0) for i, bits in enumerate(candidates.sources.tolist())]
    changes = [key for before, key in zip([None, *expected], expected, strict=False) if key != before]
    assert asked == changes  # asked for once in a row


def short_of_one(field: str) -> tuple[CandidateSet, np.ndarray]:
    """Candidates that lack the last element of a field, and their scores."""
    rng = np.random.default_rng(1)
    candidates = candidates_of(rng, [5, 5], some_rows=False, twins=False)
    return structs.replace(candidates, **{field: getattr(candidates, field)[:-1].copy()}), scores_of(rng, 10)


@pytest.mark.parametrize("field", ["offsets", "twins"])
def test_arrays_to_order_that_do_not_fit_are_refused(field: str) -> None:
    candidates, scores = short_of_one(field)
    with pytest.raises(ValueError, match="do not fit each other"):
        ordered(candidates, scores, PICKS)


@pytest.mark.parametrize("field", ["sources", "likeness"])
def test_arrays_that_do_not_fit_are_refused(field: str) -> None:
    candidates, scores = short_of_one(field)
    with pytest.raises(ValueError, match="do not fit each other"):
        slates(candidates, scores, [np.arange(5), np.arange(5, 10)], [lambda *_: ()] * 2, PICKS)


def test_rows_and_strings_that_are_not_there_are_refused() -> None:
    rng = np.random.default_rng(1)
    candidates, scores = candidates_of(rng, [5], some_rows=True, twins=False), scores_of(rng, 5)
    for rows in ([5], [-1]):
        with pytest.raises(ValueError, match="no candidate"):
            slates(candidates, scores, [np.array(rows)], [lambda *_: ()], PICKS)
    ends = candidates.titles.offsets
    for offsets in (ends[:-3].copy(), ends[::-1].copy(), ends + 100):
        candidates = structs.replace(candidates, titles=StringColumn(candidates.titles.blob, offsets))
        with pytest.raises(ValueError, match="do not fit their column"):
            slates(candidates, scores, [np.array([3, 2])], [lambda *_: ()], PICKS)


@given(st.integers(0, 2**32), st.integers(0, 90), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_matches_of_filters_are_those_of_numpy(seed: int, n: int, filters: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 256, (n, -(-filters // 8)), np.uint8)
    found, plain = matched(bits, filters, PICKS), matched(bits, filters, None)
    assert len(found) == len(plain) == filters
    for ours, theirs in zip(found, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_matches_of_more_filters_than_there_are_bits_for_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit each other"):
        matched(np.zeros((3, 1), np.uint8), 9, PICKS)
