"""Scores by compiled code, beside those that numpy measures and blends."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.ranking.blending import blends_alike, by_numpy, by_picks, scores
from recsys.ranking.picking import PICKS
from recsys.ranking.signals import SIGNALS, Moment
from recsys.shard.candidates import CandidateSet
from tests.support.drawn_candidates import candidates_of

MOMENT = Moment(1_760_000_000.0, 86_400.0, 86_400.0 * 30)
WEIGHTS = st.dictionaries(
    st.sampled_from(list(SIGNALS)), st.sampled_from([0.0, 1.0, -0.2, 0.05, 12.8, 1e-30]), max_size=6
)


def varied(rng: np.random.Generator, sizes: list[int]) -> CandidateSet:
    """Candidates some of whose numbers are unknown, without end, or out of the range of a signal."""
    candidates = candidates_of(rng, sizes, some_rows=False, twins=False)
    n = len(candidates.keys)
    candidates.columns[:, 0] = rng.integers(0, 50, n)
    candidates.columns[:, 1] = rng.choice([-np.inf, MOMENT.now / MOMENT.trend_half_life_s + 3.0, 0.0], n)
    candidates.columns[:, 2] = rng.choice([np.nan, MOMENT.now - 1e6, MOMENT.now + 5.0], n)
    some = rng.random(candidates.likeness.shape) < 0.2
    candidates.likeness[some] = rng.choice(np.array([-0.0, 7.0, -3.0, np.inf], np.float32), int(some.sum()))
    return candidates


@pytest.mark.skipif(PICKS is None, reason="recsys/ranking/picks.c was not compiled at install")
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.lists(WEIGHTS, min_size=1, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_scores_are_those_of_numpy(seed: int, sizes: list[int], kinds: list[dict[str, float]]) -> None:
    """To the bit, with the weights of each request's own scenario, whatever a candidate's numbers are."""
    rng = np.random.default_rng(seed)
    candidates, weights = varied(rng, sizes), [kinds[i % len(kinds)] for i in range(len(sizes))]
    expected = by_numpy(candidates, MOMENT, weights)
    assert scores(candidates, MOMENT, weights).tobytes() == expected.tobytes()
    if blends_alike() is not None:
        assert by_picks(candidates, MOMENT, weights, blends_alike()).tobytes() == expected.tobytes()


@pytest.mark.skipif(PICKS is None or platform.machine() != "x86_64", reason="how numpy adds up elsewhere is not known")
def test_numpy_adds_up_as_the_compiled_code_does() -> None:
    """Where it does not, scores are right and slow."""
    assert blends_alike() is not None


@pytest.mark.skipif(PICKS is None, reason="recsys/ranking/picks.c was not compiled at install")
def test_arrays_that_do_not_fit_are_refused() -> None:
    candidates = varied(np.random.default_rng(1), [5, 5])
    candidates = structs.replace(candidates, likeness=candidates.likeness[:-1].copy())
    assert PICKS is not None
    with pytest.raises(ValueError, match="do not fit each other"):
        by_picks(candidates, MOMENT, [{"taste": 1.0}] * 2, PICKS)
