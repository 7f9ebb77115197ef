"""Scores by compiled code, beside those that numpy measures and blends."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.ranking.blending import BLENDS, Measured, blends_alike, by_blends, by_numpy, scores
from recsys.ranking.signals import SIGNALS
from tests.support.drawn_candidates import MOMENT, varied

WEIGHTS = st.dictionaries(
    st.sampled_from(list(SIGNALS)), st.sampled_from([0.0, 1.0, -0.2, 0.05, 12.8, 1e-30]), max_size=6
)


@pytest.mark.skipif(BLENDS is None, reason="recsys/ranking/blends.c was not compiled at install")
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.lists(WEIGHTS, min_size=1, max_size=3),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_scores_are_those_of_numpy(seed: int, sizes: list[int], kinds: list[dict[str, float]], every: bool) -> None:
    """To the bit, with the weights of each request's own scenario, whatever a candidate's numbers are."""
    rng = np.random.default_rng(seed)
    candidates, weights = varied(rng, sizes), [kinds[i % len(kinds)] for i in range(len(sizes))]
    measured = Measured(candidates, MOMENT, every=every)
    expected = by_numpy(measured, weights)
    assert scores(measured, weights).tobytes() == expected.tobytes()
    if (blends := blends_alike()) is not None:
        assert by_blends(measured, weights, blends).tobytes() == expected.tobytes()


@pytest.mark.skipif(BLENDS is None or platform.machine() != "x86_64", reason="how numpy adds up elsewhere is not known")
def test_numpy_adds_up_as_the_compiled_code_does() -> None:
    """Where it does not, scores are right and slow."""
    assert blends_alike() is not None


@pytest.mark.skipif(BLENDS is None, reason="recsys/ranking/blends.c was not compiled at install")
def test_arrays_that_do_not_fit_are_refused() -> None:
    candidates = varied(np.random.default_rng(1), [5, 5])
    candidates = structs.replace(candidates, likeness=candidates.likeness[:-1].copy())
    assert BLENDS is not None
    with pytest.raises(ValueError, match="do not fit each other"):
        by_blends(Measured(candidates, MOMENT), [{"taste": 1.0}] * 2, BLENDS)
