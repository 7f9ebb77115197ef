"""Published methods for comparison in the same run, each with parameters chosen on validation.

A baseline is fitted on `Holdout.train`. It ranks all unseen items for histories: (cases, 100) int64 item positions.
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
"""Items up to which methods may use a dense (I, I) matrix."""
_TUNED_ON = 3000
"""Most validation cases on which parameters are chosen."""

Score = Callable[[sp.csr_array], Floats]
"""Returns (cases, I) float32 scores of (cases, I) histories of ones."""
Fit = Callable[..., Score]


@dataclass(frozen=True, slots=True)
class Baseline:
    name: str
    fit: Fit
    """Called with the (U, I) matrix of `Holdout.train` and the parameters by name."""
    grid: Sequence[Mapping[str, float]]


def popularity(seen: sp.csr_array) -> Score:
    """Return the number of users of each item as its score."""
    counts = np.asarray(seen.sum(axis=0), np.float32).ravel()
    return lambda histories: np.tile(counts, (histories.shape[0], 1))


def item_knn(seen: sp.csr_array, neighbours: int, shrink: float) -> Score:
    """Return item-item cosine over users, shrunk for items with few users (Sarwar et al. 2001)."""
    together = sp.csr_array(seen.T @ seen)
    norms = np.sqrt(together.diagonal())
    rows = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
    together.data = together.data / (norms[rows] * norms[together.indices] + shrink)
    together.setdiag(0)
    # In a small catalogue nearly all pairs occur, and a dense matrix is cut in a tenth of the time.
    dense = together.shape[0] <= _SQUARE
    kept = strongest(together.toarray() if dense else together, neighbours).astype(np.float32)
    return lambda histories: np.asarray((histories @ kept).toarray(), np.float32)


def ials(seen: sp.csr_array, factors: int, regularization: float, alpha: float) -> Score:
    """Return implicit ALS (Hu, Koren and Volinsky 2008), with users folded in from their history.

    The package `implicit` computes it, the best maintained one that has it. Raises RuntimeFailure if it is missing.
    """
    try:
        from implicit.als import AlternatingLeastSquares  # noqa: PLC0415 - an extra, which serving does without
        from threadpoolctl import threadpool_limits  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeFailure(f"{error.name} is not installed: pip install 'recsys[evaluate]'") from error
    with threadpool_limits(1, "blas"):  # implicit has threads of its own, and warns of BLAS threads
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularization, alpha=alpha, iterations=15, random_state=7
        )
        model.fit(sp.csr_matrix(seen), show_progress=False)
    items = np.asarray(model.item_factors)

    def score(histories: sp.csr_array) -> Floats:
        # The user step of ALS with implicit's alpha: the confidence of seen items is alpha, of others 1.
        shared = items.T @ items + regularization * np.eye(factors, dtype=np.float32)
        users = np.zeros((histories.shape[0], factors), np.float32)
        for u in range(histories.shape[0]):
            own = items[histories.indices[histories.indptr[u] : histories.indptr[u + 1]]]
            users[u] = np.linalg.solve(shared + (alpha - 1.0) * own.T @ own, alpha * own.sum(axis=0))
        return np.asarray(users @ items.T)

    return score


def plain_ease(seen: sp.csr_array, ridge: float) -> Score:
    """Return EASE (Steck 2019) on the plain Gram matrix."""
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
"""All baselines, for catalogues of up to _SQUARE items."""


def affordable(items: int) -> list[Baseline]:
    """Return the baselines whose matrices fit in memory with so many items."""
    return [b for b in BASELINES if b.name != "ease" or items <= _SQUARE]


def matrix(data: Interactions) -> sp.csr_array:
    """Return (U, I) float32, 1 where a user has an item."""
    ones = np.ones(len(data), np.float32)
    return sp.csr_array((ones, data.items, data.offsets), (data.users, len(data.item_ids)))


def rank(score: Score, holdout: Holdout) -> Ints:
    """Return (cases, 100) int64 unseen items, best first."""
    histories = matrix(holdout.histories)
    blocks = [histories[start : start + _BLOCK] for start in range(0, holdout.cases, _BLOCK)]
    lists = [_best(score(block), block) for block in blocks]
    return np.concatenate(lists) if lists else np.zeros((0, DEPTH), np.int64)


def _best(scores: Floats, seen: sp.csr_array) -> Ints:
    scores[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = -np.inf
    return best(scores, np.arange(scores.shape[1]), DEPTH)[0]


def choose(baseline: Baseline, validation: Holdout) -> Mapping[str, float]:
    """Return the parameters with the best NDCG@10 on the validation set."""
    if len(baseline.grid) == 1:
        return baseline.grid[0]
    seen, cases = matrix(validation.train), validation.sample(_TUNED_ON, 7)
    scored = [per_case(rank(baseline.fit(seen, **g), cases), cases)["ndcg@10"].mean() for g in baseline.grid]
    return baseline.grid[int(np.argmax(scored))]


def run(validation: Holdout, test: Holdout) -> Iterator[tuple[str, Mapping[str, float], Ints]]:
    """Yield name, chosen parameters and (cases, 100) lists for the test cases of each baseline."""
    for baseline in affordable(len(test.train.item_ids)):
        chosen = choose(baseline, validation)
        yield baseline.name, chosen, rank(baseline.fit(matrix(test.train), **chosen), test)
