"""Known methods that the platform is measured against in the same run, each with parameters chosen on validation.

A recommender is fitted on `Holdout.train` and ranks all unseen items for histories, as (cases, 100) item places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.interactions import Interactions
from recsys.datatypes import Floats
from recsys.errors import RuntimeFailure
from recsys.evaluation.metrics import DEPTH, Ints, per_case
from recsys.evaluation.splits import Holdout
from recsys.index.base import best
from recsys.training.item_operators import ease, strongest

_BLOCK = 1024
_SQUARE = 10_000
"""Items up to which methods may make a dense square of them."""
_TUNED_ON = 3000
"""Validation cases that parameters are chosen on, at most."""

Score = Callable[[sp.csr_array], Floats]
"""(cases, I) histories of ones -> (cases, I) scores."""
Fit = Callable[..., Score]


@dataclass(frozen=True, slots=True)
class Baseline:
    name: str
    fit: Fit
    """fit(matrix (U, I), **parameters)."""
    grid: Sequence[Mapping[str, float]]


def popularity(seen: sp.csr_array) -> Score:
    counts = np.asarray(seen.sum(axis=0), np.float32).ravel()
    return lambda histories: np.tile(counts, (histories.shape[0], 1))


def item_knn(seen: sp.csr_array, neighbours: int, shrink: float) -> Score:
    """Cosine of items over users, shrunk for few users (Sarwar et al. 2001)."""
    together = sp.csr_array(seen.T @ seen)
    norms = np.sqrt(together.diagonal())
    rows = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
    together.data = together.data / (norms[rows] * norms[together.indices] + shrink)
    together.setdiag(0)
    # Nearly all pairs of a small catalogue occur, and a dense table is cut to its strongest in a tenth of the time.
    dense = together.shape[0] <= _SQUARE
    kept = strongest(together.toarray() if dense else together, neighbours).astype(np.float32)
    return lambda histories: np.asarray((histories @ kept).toarray(), np.float32)


def ials(seen: sp.csr_array, factors: int, regularization: float, alpha: float) -> Score:
    """Implicit ALS (Hu, Koren and Volinsky 2008), users folded in from their history.

    By the package implicit, the best kept of those that have it. Raises RuntimeFailure where it is not installed.
    """
    try:
        from implicit.als import AlternatingLeastSquares  # noqa: PLC0415 - an extra, which serving does without
        from threadpoolctl import threadpool_limits  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeFailure(f"{error.name} is not installed: pip install 'recsys[evaluate]'") from error
    with threadpool_limits(1, "blas"):  # implicit runs threads of its own, and warns of BLAS's beside them
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularization, alpha=alpha, iterations=15, random_state=7
        )
        model.fit(sp.csr_matrix(seen), show_progress=False)
    items = np.asarray(model.item_factors)

    def score(histories: sp.csr_array) -> Floats:
        # The user step of ALS, alpha as implicit has it: confidence of what was seen is alpha, of the rest 1.
        shared = items.T @ items + regularization * np.eye(factors, dtype=np.float32)
        users = np.zeros((histories.shape[0], factors), np.float32)
        for u in range(histories.shape[0]):
            mine = items[histories.indices[histories.indptr[u] : histories.indptr[u + 1]]]
            users[u] = np.linalg.solve(shared + (alpha - 1.0) * mine.T @ mine, alpha * mine.sum(axis=0))
        return np.asarray(users @ items.T)

    return score


def plain_ease(seen: sp.csr_array, ridge: float) -> Score:
    weights = ease(np.asarray((seen.T @ seen).toarray(), np.float32), ridge)
    return lambda histories: np.asarray(histories @ weights)


BASELINES = (
    Baseline("popularity", popularity, ({},)),
    Baseline("item-knn", item_knn, [{"neighbours": n, "shrink": s} for n in (50, 200) for s in (10.0, 100.0)]),
    Baseline(
        "ials",
        ials,
        [{"factors": 64, "regularization": r, "alpha": a} for r in (0.1, 10.0, 50.0) for a in (2.0, 10.0)],
    ),
    Baseline("ease", plain_ease, [{"ridge": r} for r in (100.0, 300.0, 1000.0)]),
)
"""For catalogues whose square fits memory; `affordable` leaves out what does not."""


def affordable(items: int) -> list[Baseline]:
    return [b for b in BASELINES if b.name != "ease" or items <= _SQUARE]


def matrix(data: Interactions) -> sp.csr_array:
    """(users, items) float32, 1 where a user had an item."""
    ones = np.ones(len(data), np.float32)
    return sp.csr_array((ones, data.items, data.offsets), (data.users, len(data.item_ids)))


def rank(score: Score, held: Holdout) -> Ints:
    """(cases, 100) unseen items, best first."""
    histories = matrix(held.histories)
    lists = [_best(score(histories[s : s + _BLOCK]), histories[s : s + _BLOCK]) for s in range(0, held.cases, _BLOCK)]
    return np.concatenate(lists) if lists else np.zeros((0, DEPTH), np.int64)


def _best(scores: Floats, seen: sp.csr_array) -> Ints:
    scores[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = -np.inf
    return best(scores, np.arange(scores.shape[1]), DEPTH)[0]


def choose(baseline: Baseline, validation: Holdout) -> Mapping[str, float]:
    """The parameters with the best NDCG@10 on validation; the test cases are not looked at."""
    if len(baseline.grid) == 1:
        return baseline.grid[0]
    seen, cases = matrix(validation.train), validation.sample(_TUNED_ON, 7)
    scored = [per_case(rank(baseline.fit(seen, **g), cases), cases)["ndcg@10"].mean() for g in baseline.grid]
    return baseline.grid[int(np.argmax(scored))]


def run(validation: Holdout, test: Holdout) -> Iterator[tuple[str, Mapping[str, float], Ints]]:
    """(name, chosen parameters, lists for the test cases) of each baseline."""
    for baseline in affordable(len(test.train.item_ids)):
        chosen = choose(baseline, validation)
        yield baseline.name, chosen, rank(baseline.fit(matrix(test.train), **chosen), test)
