"""Learned ranking: trees over the signals of a whole batch's candidates at once.

LightGBM trains them: it has the reference implementation of LambdaRank, and its models are plain text, which is never
unpickled. `quickscorer.py` scores them.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.errors import VersionError
from recsys.ranking.kept_sums import RESCORED, KeptSums
from recsys.ranking.known_features import PREFIXES, USER
from recsys.ranking.quickscorer import Trees
from recsys.ranking.signals import SIGNALS
from recsys.shard.candidates import CandidateSet

Ints = npt.NDArray[np.int64]

FEATURES = (*SIGNALS, "blend", "blend_gap", "rank", "history", "session", "sources")
"""Columns of `features`."""


def features(
    offsets: Ints, sources: Ints, signals: Floats, scores: Floats, histories: Floats, sessions: Floats
) -> Floats:
    """(n, len(FEATURES)) float32 of n candidates of B requests, with their (n, len(SIGNALS)) signals and (n,) blended
    scores. `offsets` is (B + 1,) and `sources` (n,), both as in `CandidateSet`.

    `histories` is (B,) float32, interactions that each request's user is known by, and `sessions` (B,) float32 those of
    the session that is under way; both count by their log. `blend_gap` is the distance to the
    request's best blend, `rank` the log of the place by it, `sources` how many sources proposed the item.
    """
    requests = np.repeat(np.arange(len(histories)), np.diff(offsets))
    rank = ranks(offsets, scores)
    best = np.full(len(histories), -np.inf, np.float32)
    np.maximum.at(best, requests, scores)
    table = np.empty((len(scores), len(FEATURES)), np.float32)
    table[:, : len(SIGNALS)] = signals
    extra = (
        scores,
        scores - best[requests],
        np.log1p(rank),
        np.log1p(histories)[requests],
        np.log1p(sessions)[requests],
    )
    for column, values in enumerate((*extra, np.bitwise_count(sources)), len(SIGNALS)):
        table[:, column] = values
    return table


def ranks(offsets: Ints, scores: Floats) -> Ints:
    """Return (n,) int64: the rank of each candidate within its request, from 0 for the best."""
    requests = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-scores, requests))
    place = np.empty(len(scores), np.int64)
    place[order] = np.arange(len(scores)) - offsets[:-1][requests[order]]
    return place


_RANK = FEATURES.index("rank")


_UNUSED = ("sklearn", "pandas")
_IMPORT = threading.Lock()


def library() -> ModuleType:
    """Return LightGBM. It is imported without scikit-learn and pandas, for which it has classes that nobody uses here:
    they take three quarters of its import, and 130 MB.
    """
    with _IMPORT:
        hidden = [name for name in _UNUSED if "lightgbm" not in sys.modules and name not in sys.modules]
        for name in hidden:
            sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails
        try:
            import lightgbm  # noqa: PLC0415 - 0.4 s
        finally:
            for name in hidden:
                del sys.modules[name]
    return lightgbm


class Ranker:
    """A published model, whose output is added to the blend."""

    def __init__(self, text: str) -> None:
        lightgbm = library()
        try:
            model = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise VersionError(f"the ranking model cannot be read: {error}") from error
        names = model.feature_name()
        self.known = tuple(name for name in names if name.startswith(PREFIXES))
        """What it looks at of users and moments, see `known_features.py`: the last columns of its table."""
        self.of_users = any(name.startswith(USER) for name in self.known)
        """Whether attributes of users are among it."""
        every = (*FEATURES, *self.known)
        if not set(names) <= set(every):
            raise VersionError("the ranking model was trained on other signals than this release has; train again")
        self.names = tuple(names)
        """Of its features, in the order of the columns that `trees` look at."""
        self._columns = [every.index(name) for name in names]  # an older model may have fewer
        self.trees = Trees(model.dump_model())
        self.kept = KeptSums(self.trees)
        self._text = text
        self._model: Any = None
        """The model as LightGBM has it, once somebody has asked for shares."""

    def score(self, table: Floats) -> Floats:
        """Return (n,) float32, to be added to the blend of each row of `features`, followed by those of `known`."""
        return self.trees.score(table[:, self._columns])

    def shares(self, table: Floats) -> list[dict[str, float]]:
        """Return what each feature adds to the output of each row of `features`, and the output's mean as `base`: exact
        TreeSHAP (Lundberg et al. 2018), as LightGBM computes it. Shares of a row sum to its output.
        """
        if self._model is None:
            lightgbm = library()
            self._model = lightgbm.Booster(model_str=self._text)
        names = [*self.names, "base"]
        contributions = np.asarray(self._model.predict(table[:, self._columns], pred_contrib=True, num_threads=1))
        return [dict(zip(names, row, strict=True)) for row in contributions.tolist()]

    def is_best(self, table: Floats) -> npt.NDArray[np.bool_]:
        """Return (n,) bool: the rows of `features` that are rescored."""
        return table[:, _RANK] < np.float32(np.log1p(RESCORED)) - 1e-4

    def rescored(
        self, candidates: CandidateSet, table: Floats, scores: Floats, enabled: npt.NDArray[np.bool_]
    ) -> Floats:
        """Return (n,) scores, with the trees' output added for the best RESCORED candidates of each request in the
        (B,) bool `enabled`.
        """
        rows = np.flatnonzero(enabled[candidates.requests] & self.is_best(table))
        corrected = scores.copy()
        corrected[rows] += self.score(table[rows])
        return corrected
