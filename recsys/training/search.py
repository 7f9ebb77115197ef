"""Choosing an operator's parameters on validation cases: one after the other, uphill along each grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from recsys.datatypes import Floats
from recsys.holdout import Holdout
from recsys.index.base import best
from recsys.interactions import Interactions
from recsys.metrics import per_case
from recsys.training.operators import Matrix, ease, gram, local_ease, near_pairs

DENSE_LIMIT = 10_000
"""Items up to which an I x I inverse is taken: 400 MB a matrix, half a minute an inverse on two cores."""
LONG_HALF_LIFE = 500.0
"""Interactions: in effect the whole history, and still one cheap update."""
_SUPPORT = 100
"""Neighbours that a column of the sparse route may use."""
_WINDOWS = 3
"""Spans that pairs of the sparse route may lie apart; exp(-3) = 5 % of their weight is left there."""
_TUNED_ON = 3000
"""Validation cases that are scored for every candidate, at most: a standard error of 0.004."""
_BLOCK = 1024

Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What validation chooses; the defaults are where the search starts."""

    ridge: float = 300.0
    """Interactions that speak for no connection between two items."""
    span: float = 15.0
    """Interactions apart at which a pair counts for a third."""
    half_life: float = 4.0
    """Interactions after which a liked item counts half in the short part of a user's vector."""
    long_weight: float = 0.1
    """Weight of the whole history beside the short part."""


GRID: dict[str, Sequence[float]] = {
    "ridge": (30.0, 100.0, 300.0, 1000.0, 3000.0),
    "span": (5.0, 15.0, 50.0, 150.0),
    "half_life": (1.5, 2.5, 4.0, 7.0, 12.0, 25.0),
    "long_weight": (0.0, 0.03, 0.1, 0.3, 1.0),
}
_LEARNED = ("ridge", "span")
"""Parameters that the operator itself depends on."""


def learn(data: Interactions, parameters: Parameters, grams: dict[float, Matrix] | None = None) -> Matrix:
    """The operator, dense up to DENSE_LIMIT items. `grams` keeps what parameters share; None: nothing is kept."""
    kept = {} if grams is None else grams
    dense = len(data.item_ids) <= DENSE_LIMIT
    if parameters.span not in kept:
        kept.clear()  # one at a time: each is as large as the operator
        window = int(min(_WINDOWS * parameters.span, 50))
        kept[parameters.span] = gram(data, parameters.span) if dense else near_pairs(data, parameters.span, window)
    known = kept[parameters.span]
    if isinstance(known, np.ndarray):
        return ease(known, parameters.ridge)
    return local_ease(known, parameters.ridge, _SUPPORT)


def faded(histories: Interactions, half_life: float) -> sp.csr_array:
    """(cases, I) float32: each item's weight, halved with every `half_life` interactions since."""
    fading = (0.5 ** (histories.ages / half_life)).astype(np.float32) * histories.weights
    shape = (histories.users, len(histories.item_ids))
    return sp.csr_array((fading, histories.items, histories.offsets), shape)


def taste_rows(histories: Interactions, parameters: Parameters) -> sp.csr_array:
    """(cases, I): the two parts of a user's vector, as weights of the items in the history."""
    short = faded(histories, parameters.half_life)
    if not parameters.long_weight:
        return short
    return sp.csr_array(short + parameters.long_weight * faded(histories, LONG_HALF_LIFE))


def ranked(scores: Floats, histories: Interactions, k: int) -> np.ndarray:
    """(cases, k) unseen items, best first; the scores of seen ones are overwritten."""
    scores[histories.owners, histories.items] = -np.inf
    return best(scores, np.arange(scores.shape[1]), k)[0]


def quality(operator: Matrix, cases: Holdout, parameters: Parameters) -> float:
    """Mean NDCG@10 of the operator's own ranking of all unseen items."""
    rows = taste_rows(cases.histories, parameters)
    lists = []
    for start in range(0, cases.cases, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, cases.cases))
        scores = rows[part] @ operator
        dense = np.asarray(scores.toarray() if sp.issparse(scores) else scores, np.float32)
        lists.append(ranked(dense, cases.histories.select(part), 10))
    return float(per_case(np.concatenate(lists), cases)["ndcg@10"].mean())


def choose(validation: Holdout, seed: int, say: Say) -> tuple[Parameters, float]:
    """The parameters that validation prefers, and their NDCG@10 there."""
    cases = validation.sample(_TUNED_ON, seed)
    search = _Search(validation.train, cases, say)
    if not cases.cases:
        return Parameters(), 0.0
    for name in ("ridge", "half_life", "long_weight", "span", "ridge", "half_life", "long_weight"):
        search.climb(name)
    say("choose", search.tried, search.tried)
    return search.best, search.score(search.best)


class _Search:
    """Remembers what was tried; keeps one operator at a time."""

    def __init__(self, train: Interactions, cases: Holdout, say: Say) -> None:
        self._train, self._cases, self._say = train, cases, say
        self._scores: dict[Parameters, float] = {}
        self._grams: dict[float, Matrix] = {}
        self._operator: tuple[tuple[float, ...], Matrix] | None = None
        self.best = Parameters()

    @property
    def tried(self) -> int:
        return len(self._scores)

    def score(self, candidate: Parameters) -> float:
        if candidate not in self._scores:
            self._say("choose", self.tried, 40)  # about what a search takes
            key = tuple(getattr(candidate, name) for name in _LEARNED)
            if self._operator is None or self._operator[0] != key:
                self._operator = None  # frees the old before the new is made
                self._operator = (key, learn(self._train, candidate, self._grams))
            self._scores[candidate] = quality(self._operator[1], self._cases, candidate)
        return self._scores[candidate]

    def climb(self, name: str) -> None:
        """Go along one grid as long as it gets better."""
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
