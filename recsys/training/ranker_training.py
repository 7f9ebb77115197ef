"""Trees that correct the blend, learned from validation cases and judged by cross-validation over users."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.ranking.tree_ranker import FEATURES, RESCORED
from recsys.training.blend import blended
from recsys.training.case_table import CaseTable

if TYPE_CHECKING:
    import lightgbm

_FOLDS = 4
SURE = 1.64
"""Standard errors that the gain must be above 0: a chance of 95 % that it is one."""
_TREES = (25, 50, 100, 200)
"""Numbers that cross-validation chooses from."""
_IN_SESSION = 0.1
"""Share of cases that must be in a session for trees to look at how far it is: where everybody is asked as of one
moment hardly anybody is, and what trees make of those few would be said of all who are in one."""
_SETTINGS = {
    "objective": "lambdarank",
    "num_leaves": 15,  # with 200 trees: what overfits neither 900 users nor 6,000, with the next three
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
    "num_threads": 1,  # threads of one fit wait for each other in busy loops, minutes on a machine in use
    "verbosity": -1,
}


def train_ranker(
    table: CaseTable, weights: Mapping[str, float], seed: int, threads: int = 1
) -> tuple[str | None, float]:
    """A LambdaRank model (Burges 2010) in LightGBM's text format whose output is added to the blend's `weights`, and
    its NDCG@10 by cross-validation over users, of which each of the `threads` takes one part after the other.

    None where its gain is not surer than 95 %: of few users it would only learn their chance.
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
    error = float(np.sqrt((by_user**2).sum()))  # of the sum; cases of a user go together
    quality = float((before.sum() + gains[chosen].sum()) / max(table.cases, 1))
    if gains[chosen].sum() <= SURE * error:
        return None, quality
    model = _fit(columns, few, scores, np.ones(len(columns), bool), _TREES[chosen], seed)
    return str(model.model_to_string()), quality


def _fit(
    columns: Floats, table: CaseTable, scores: Floats, keep: npt.NDArray[np.bool_], trees: int, seed: int
) -> lightgbm.Booster:
    import lightgbm  # noqa: PLC0415 - brings scikit-learn and pandas: a second, in which nothing is said

    groups = np.bincount(table.owners[keep], minlength=len(table.offsets) - 1)
    data = lightgbm.Dataset(
        columns[keep],
        table.hit[keep].astype(np.int8),
        group=groups[groups > 0],
        init_score=scores[keep],
        feature_name=list(FEATURES),
    )
    return lightgbm.train(_SETTINGS | {"seed": seed}, data, trees)
