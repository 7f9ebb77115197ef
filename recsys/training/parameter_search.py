"""The search for an operator's hyperparameters on validation cases: coordinate ascent on a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from recsys.data.interactions import Interactions, taste_rows
from recsys.datatypes import Floats
from recsys.evaluation.metrics import per_case
from recsys.evaluation.splits import Holdout
from recsys.index.base import best
from recsys.training.item_operators import Matrix, ease, grams, local_ease, near_pairs

DENSE_LIMIT = 10_000
"""Items up to which a dense (I, I) inverse is computed: 400 MB a matrix, half a minute an inverse on two cores."""
_SUPPORT = 100
"""Neighbours of a column in the sparse operator."""
_MIDDLE = 15.0
"""Span of the sparse operator, the middle one of SPANS."""
_WINDOWS = 3
"""Spans beyond which the sparse operator ignores pairs: exp(-3) is 5 % of their weight."""
_DROPOUT = 0.25
"""On MovieLens 100K's validation 0.2 to 0.3 raise NDCG@10 from 0.138 to 0.139, whatever the other parameters."""
_TUNED_ON = 6000
"""Most validation cases that score a candidate: a standard error of 0.003."""
_SCORED = 12_000_000
"""Most cases times items that score a candidate: half a second. All candidates are scored on the same cases, so their
differences have a smaller error than their scores."""
_BLOCK = 1024
"""Cases scored at a time."""

Say = Callable[[str, int, int], None]
"""Progress: the step, what is done and what there is."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Hyperparameters. The search starts at the defaults."""

    ridge: float = 100.0
    """Regularisation of the operator in interactions, at a span of 15."""
    half_life: float = 4.0
    """Interactions after which an item's weight in the short part of a user vector is halved."""
    long_weight: float = 0.1
    """Weight of the long part of a user vector; the short part has weight 1."""


GRID: dict[str, Sequence[float]] = {
    "ridge": (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0),
    "half_life": (1.5, 2.5, 4.0, 7.0, 12.0, 25.0),
    "long_weight": (0.0, 0.03, 0.1, 0.3, 1.0),
}
SPANS = {5.0: 0.3, 15.0: 1.0, 50.0: 3.0}
"""Share of the ridge by span, the distance in interactions at which a pair's weight is about a third.

The operator is the mean over the spans. On validation it is as good as with the best single span, has 1.5 points more
hits among 100, and no span has to be chosen."""


class Grams:
    """Gram matrices by span, computed once for all ridges. Above DENSE_LIMIT items: a sparse one of the middle span."""

    def __init__(self, data: Interactions) -> None:
        dense = len(data.item_ids) <= DENSE_LIMIT
        self._dense = grams(data, SPANS) if dense else {}
        self._sparse = None if dense else near_pairs(data, _MIDDLE, int(_WINDOWS * _MIDDLE))

    def operator(self, ridge: float) -> Matrix:
        """Return the (I, I) operator: the mean over the spans."""
        if self._sparse is not None:
            return local_ease(self._sparse, ridge, _SUPPORT, _DROPOUT)
        total = np.zeros_like(self._dense[_MIDDLE])
        for span, share in SPANS.items():
            total += ease(self._dense[span], ridge * share, _DROPOUT)
        total /= np.float32(len(SPANS))
        return total


def ranked(scores: Floats, histories: Interactions, k: int) -> np.ndarray:
    """Return (cases, k) int64 unseen items, best first. `scores`, (cases, I) float32, is overwritten for seen items."""
    scores[histories.owners, histories.items] = -np.inf
    return best(scores, np.arange(scores.shape[1]), k)[0]


def quality(operator: Matrix, cases: Holdout, parameters: Parameters) -> float:
    """Return the mean NDCG@10 of all unseen items ranked by the operator."""
    rows = taste_rows(cases.histories, parameters.half_life, parameters.long_weight)
    lists = []
    for start in range(0, cases.cases, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, cases.cases))
        scores = rows[part] @ operator
        dense = np.asarray(scores.toarray() if sp.issparse(scores) else scores, np.float32)
        lists.append(ranked(dense, cases.histories.select(part), 10))
    return float(per_case(np.concatenate(lists), cases)["ndcg@10"].mean())


@dataclass(frozen=True, slots=True)
class Chosen:
    """The result of the search."""

    parameters: Parameters
    quality: float
    """NDCG@10 on validation."""
    operator: Matrix
    """The operator of the validation's training set with these parameters."""


def choose(validation: Holdout, seed: int, say: Say) -> Chosen:
    """Return the parameters with the best NDCG@10 on validation."""
    most = _SCORED // max(len(validation.train.item_ids), 1)
    cases = validation.sample(min(max(most, 1000), _TUNED_ON), seed)
    search = _Search(validation.train, cases, say)
    if cases.cases:
        for name in ("ridge", "half_life", "long_weight", "ridge", "half_life", "long_weight"):
            search.climb(name)
        say("choose", search.tried, search.tried)
    best = search.best
    return Chosen(best, search.score(best) if cases.cases else 0.0, search.operator(best.ridge))


class _Search:
    """Remembers scores, and keeps two operators in memory: the best candidate's and the last one's."""

    def __init__(self, train: Interactions, cases: Holdout, say: Say) -> None:
        say("choose", 0, 25)
        self._grams, self._cases, self._say = Grams(train), cases, say
        self._scores: dict[Parameters, float] = {}
        self._operators: dict[float, Matrix] = {}
        self.best = Parameters()

    @property
    def tried(self) -> int:
        return len(self._scores)

    def operator(self, ridge: float) -> Matrix:
        if ridge not in self._operators:
            self._operators = {r: kept for r, kept in self._operators.items() if r == self.best.ridge}
            self._operators[ridge] = self._grams.operator(ridge)
        return self._operators[ridge]

    def score(self, candidate: Parameters) -> float:
        if candidate not in self._scores:
            self._say("choose", self.tried, 25)  # a search tries about 25
            self._scores[candidate] = quality(self.operator(candidate.ridge), self._cases, candidate)
        return self._scores[candidate]

    def climb(self, name: str) -> None:
        """Move along one grid, in both directions, as long as the score improves."""
        for step in (1, -1):
            while True:
                grid = GRID[name]
                at = grid.index(getattr(self.best, name)) + step
                if not 0 <= at < len(grid):
                    break
                candidate = replace(self.best, **{name: grid[at]})
                if self.score(candidate) <= self.score(self.best):
                    break
                self.best = candidate
