"""Training of the tree ranker, which corrects the blend, with cross-validation over users."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.ranking.kept_sums import RESCORED
from recsys.ranking.tree_ranker import FEATURES, library
from recsys.training.blend import blended
from recsys.training.case_table import CaseTable

if TYPE_CHECKING:
    from lightgbm import Booster

_FOLDS = 4
SURE = 1.64
"""Least gain in standard errors: the gain is then above 0 with 95 % confidence."""
_TREES = (25, 50, 100, 200)
"""Numbers of trees from which cross-validation chooses."""
_IN_SESSION = 0.1
"""Least share of cases within a session for trees to use the session's length. If all cases are at one moment, hardly
any user is in a session, and trees would generalise from those few."""
_SETTINGS = {
    "objective": "lambdarank",
    "num_leaves": 15,  # with 200 trees and the next three settings it overfits neither 900 users nor 6,000
    "learning_rate": 0.03,
    "min_data_in_leaf": 200,
    "lambda_l2": 20.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambdarank_truncation_level": 20,
    "max_bin": 127,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # several threads wait for each other in busy loops: minutes on a busy machine
    "verbosity": -1,
}
_GAINS = "0,0.1,1.1"
"""Gains of a disliked candidate, of any other, and of a target. A pair's loss grows with the distance of its gains: one
of a disliked candidate and another weighs a tenth of one with a target, which nobody but the user has chosen."""


def train_ranker(
    table: CaseTable, weights: Mapping[str, float], seed: int, threads: int = 1
) -> tuple[str | None, float]:
    """Return a LambdaRank model (Burges 2010) in LightGBM's text format, and its NDCG@10 by cross-validation.

    The model's output is added to the blend with these `weights`. None: the gain is not significant at 95 %, or there
    are too few users. The folds divide the users. `threads`: folds that are trained at the same time.
    """
    if len(np.unique(table.users)) < 10 * _FOLDS:
        return None, 0.0
    few = table.best(blended(table, weights), RESCORED)
    scores = blended(few, weights)
    columns = few.features(scores)
    if (few.session > 0).mean() < _IN_SESSION:
        columns[:, FEATURES.index("session")] = 0.0
    fold_of = np.random.default_rng(seed).integers(0, _FOLDS, table.users.max() + 1)[few.users]
    ranked = np.empty((len(_TREES), len(scores)), np.float32)

    def judge(fold: int) -> None:
        rows = (fold_of == fold)[few.owners]
        model = _fit(columns, few, scores, ~rows, _TREES[-1], seed)
        for line, trees in enumerate(_TREES):
            ranked[line, rows] = scores[rows] + model.predict(columns[rows], num_iteration=trees, num_threads=1)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(judge, range(_FOLDS)))
    before = few.ndcg(scores)
    gains = [few.ndcg(line) - before for line in ranked]
    chosen = int(np.argmax([gain.sum() for gain in gains]))
    by_user = np.bincount(few.users, gains[chosen])
    error = float(np.sqrt((by_user**2).sum()))  # of the sum; the cases of a user are not independent
    quality = float((before.sum() + gains[chosen].sum()) / max(table.cases, 1))
    if gains[chosen].sum() <= SURE * error:
        return None, quality
    model = _fit(columns, few, scores, np.ones(len(columns), bool), _TREES[chosen], seed)
    return str(model.model_to_string()), quality


def _fit(
    columns: Floats, table: CaseTable, scores: Floats, keep: npt.NDArray[np.bool_], trees: int, seed: int
) -> Booster:
    lightgbm = library()
    groups = np.bincount(table.owners[keep], minlength=len(table.offsets) - 1)
    labels, settings = table.hit[keep].astype(np.int8), _SETTINGS | {"seed": seed}
    if table.disliked is not None:
        labels = np.where(labels > 0, 2, 1 - table.disliked[keep]).astype(np.int8)
        settings |= {"label_gain": _GAINS}
    data = lightgbm.Dataset(
        columns[keep],
        labels,
        group=groups[groups > 0],
        init_score=scores[keep],
        feature_name=[*FEATURES, *table.known_names],
    )
    booster: Booster = lightgbm.train(settings, data, trees)
    return booster
