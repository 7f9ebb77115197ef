"""Scores of trees for the best candidates by compiled code, beside those by numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.ranking.blending import Measured, blends_alike, scores
from recsys.ranking.rescoring import facts, rescored
from recsys.ranking.signals import SIGNALS, measure
from recsys.ranking.tree_ranker import FEATURES, Ranker, features, library
from tests.support.drawn_candidates import MOMENT, varied

KNOWN = ("user.age", "context.device=phone")


@pytest.fixture(scope="module", params=["all", "some"])
def ranker(request: pytest.FixtureRequest) -> Ranker:
    """Its trees look at all features, or at some in another order."""
    lightgbm = library()
    names = [*FEATURES, *KNOWN] if request.param == "all" else ["rank", "near", "context.device=phone", "blend_gap"]
    rng = np.random.default_rng(3)
    table = rng.standard_normal((2000, len(names))).round(2)
    liked = (table.sum(axis=1) + rng.standard_normal(2000) > 0).astype(int)
    data = lightgbm.Dataset(table, liked, feature_name=names)
    return Ranker(
        lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 15}, data, 30).model_to_string()
    )


@given(st.integers(0, 2**32), st.lists(st.integers(0, 90), min_size=1, max_size=5), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_scores_are_those_of_numpy(ranker: Ranker, seed: int, sizes: list[int], people: int) -> None:
    """To the bit, of requests with more candidates than are rescored, with fewer, and of those without trees; where
    requests come again at once and much later, and where those of several go by one name.
    """
    if (blends := blends_alike()) is None:
        pytest.skip("there is no compiled code that adds up as numpy does here")
    rng = np.random.default_rng(seed)
    candidates, n = varied(rng, sizes), len(sizes)
    enabled, who = rng.random(n) < 0.8, [place % people for place in range(n)]
    weights = [dict(zip(SIGNALS, rng.integers(0, 3, len(SIGNALS)) / 2, strict=True))] * n
    histories, sessions = rng.integers(0, 300, (2, n)).astype(np.float32)
    known = rng.random((n, len(ranker.known))).astype(np.float32)
    for later_s in (0.0, 0.0, 1.0, 1e6):
        moment = structs.replace(MOMENT, now=MOMENT.now + later_s)
        measured = Measured(candidates, moment, every=True)
        blended = scores(measured, weights)
        signals = measure(candidates, moment)
        assert measured.values.tobytes() == signals.tobytes()
        table = features(candidates.offsets, candidates.sources, signals, blended, histories, sessions)
        table = np.concatenate([table, known[candidates.requests]], axis=1)
        expected = ranker.rescored(candidates, table, blended, enabled)
        ours = rescored(
            measured, blended, ranker, enabled, facts(np.stack([histories, sessions], axis=1), known), blends, who
        )
        assert ours.tobytes() == expected.tobytes()


def test_arrays_that_do_not_fit_are_refused(ranker: Ranker) -> None:
    if (blends := blends_alike()) is None:
        pytest.skip("there is no compiled code that adds up as numpy does here")
    measured = Measured(varied(np.random.default_rng(1), [5, 5]), MOMENT, every=True)
    own = facts(np.ones((2, 2), np.float32), np.ones((2, len(ranker.known)), np.float32))
    for given_scores, enabled, facts_of in ((9, 2, own), (10, 3, own), (10, 2, own[:, :-1].copy())):
        given_to = np.zeros(given_scores, np.float32), ranker, np.ones(enabled, bool), facts_of, blends
        with pytest.raises(ValueError, match="do not fit each other"):
            rescored(measured, *given_to, range(enabled))
