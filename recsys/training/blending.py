"""The linear blend and the trees, learned from what the served pipeline gathers for validation cases."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.config import SignalName
from recsys.datatypes import Floats
from recsys.evaluation.offline import Offline
from recsys.evaluation.splits import Holdout
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import FEATURES, RESCORED, features

if TYPE_CHECKING:
    import lightgbm

Ints = npt.NDArray[np.int64]

_CANDIDATES = 50
"""Items asked for: with the sources of the home scenario, about 200 candidates."""
_STEPS: dict[SignalName, tuple[float, ...]] = {
    "taste": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0),
    "long": (0.0, 0.01, 0.03, 0.1, 0.4),
    "near": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    "follows": (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
    "last": (0.0, 0.1, 0.3, 1.0, 3.0),
    "because": (0.0, 0.03, 0.1, 0.4),
    "popularity": (-0.2, -0.05, 0.0, 0.05, 0.2, 0.8),
    "trend": (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8),
    "attention": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    "affinity": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
}
"""Tried in this order. Trends decide most where one moment is held out for all, and little where everybody's last.
Popularity may hardly be held against an item: what nobody knows yet would come before all that is known.
"""
START: dict[SignalName, float] = {**dict.fromkeys(SIGNALS, 0.0), "taste": 1.0, "near": 1.0, "query": 1.0}
"""Where the search of weights starts; `recency` stays out, for created_at is not the time of an item's arrival."""
_ROUNDS = 3
_FOLDS = 4
SURE = 1.64
_TREES = (25, 50, 100, 200)
"""Numbers that cross-validation chooses from."""
_IN_SESSION = 0.1
"""Share of cases that must be in a session for trees to look at how far it is: where everybody is asked as of one
moment hardly anybody is, and what trees make of those few would be said of all who are in one."""
_SPREAD = 1.5
"""Standard deviation of the scaled blend over a request's best candidates."""
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


@dataclass(frozen=True, slots=True)
class Table:
    """n candidates of the cases whose target is among them: (n, len(SIGNALS)) signals; `hit` (n,) bool.

    `offsets` is (cases + 1,). `cases` counts all cases, those without their target too, which score 0 whatever ranks.
    """

    signals: Floats
    hit: npt.NDArray[np.bool_]
    offsets: Ints
    history: Floats
    """(cases here,) interactions that the user is known by."""
    session: Floats
    """(cases here,) those of the session under way."""
    sources: Ints
    users: Ints
    """(cases here,) numbers that cases of one user share."""
    cases: int

    @property
    def owners(self) -> Ints:
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def ndcg(self, scores: Floats) -> npt.NDArray[np.float64]:
        """(cases here,) NDCG@10 over candidates, several targets allowed; ties count against the target."""
        hits = np.flatnonzero(self.hit)
        owner = self.owners[hits]
        sizes = np.diff(self.offsets)[owner]
        starts = np.cumsum(sizes) - sizes
        rivals = np.arange(sizes.sum()) + np.repeat(self.offsets[owner] - starts, sizes)
        rank = np.add.reduceat(scores[rivals] >= np.repeat(scores[hits], sizes), starts, dtype=np.int64) - 1
        gain = np.bincount(owner, np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0), len(self.offsets) - 1)
        return gain / np.cumsum(1.0 / np.log2(np.arange(2, 12)))[np.minimum(np.bincount(owner), 10) - 1]

    def mean(self, scores: Floats) -> float:
        return float(self.ndcg(scores).sum() / max(self.cases, 1)) if len(self.hit) else 0.0

    def best(self, scores: Floats, n: int) -> Table:
        """The n best candidates of each case; only of cases with a target among those. A target further down must not
        stay: trees would learn that what stands there is one.
        """
        order = np.lexsort((-scores, self.owners))
        rank = np.empty(len(scores), np.int64)
        rank[order] = np.arange(len(scores)) - self.offsets[:-1][self.owners[order]]
        near = rank < n
        cases = np.add.reduceat(self.hit & near, self.offsets[:-1], dtype=np.int64) > 0
        keep = near & cases[self.owners]
        sizes = np.bincount(self.owners[keep], minlength=len(cases))[cases]
        return Table(
            self.signals[keep],
            self.hit[keep],
            np.concatenate([[0], np.cumsum(sizes)]),
            self.history[cases],
            self.session[cases],
            self.sources[keep],
            self.users[cases],
            self.cases,
        )

    def features(self, scores: Floats) -> Floats:
        columns: Any = _Columns(self.offsets, self.sources)
        return features(columns, self.signals, scores, self.history, self.session)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What `features` reads of a CandidateSet."""

    offsets: Ints
    sources: Ints

    @property
    def requests(self) -> Ints:
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def gather(offline: Offline, held: Holdout) -> Table:
    """Signals of the candidates that the version serves for the cases."""
    place = {item: i for i, item in enumerate(held.train.item_ids)}
    number = {user: n for n, user in enumerate(dict.fromkeys(held.histories.user_ids))}
    signals, hits, sizes, history, session, sources, users = [], [], [], [], [], [], []
    for start, made in offline.gathered(held, _CANDIDATES):
        found, known, under_way = made.candidates, made.histories, made.sessions
        ids = np.fromiter((place.get(i, -1) for i in found.ids.strings()), np.int64, len(found.keys))
        for b, (low, high) in enumerate(zip(found.offsets[:-1], found.offsets[1:], strict=True)):
            case = start + b
            targets = held.targets[held.target_offsets[case] : held.target_offsets[case + 1]]
            hit = np.isin(ids[low:high], targets)
            if not hit.any():
                continue
            signals.append(made.signals[low:high])
            sources.append(found.sources[low:high])
            hits.append(hit)
            sizes.append(high - low)
            history.append(known[b])
            session.append(under_way[b])
            users.append(number[held.histories.user_ids[case]])
    if not hits:
        none = np.zeros(0, np.int64)
        return Table(np.zeros((0, len(SIGNALS)), np.float32), none > 0, np.zeros(1, np.int64), none.astype(np.float32),
                     none.astype(np.float32), none, none, held.cases)  # fmt: skip
    return Table(
        np.concatenate(signals),
        np.concatenate(hits),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.array(history, np.float32),
        np.array(session, np.float32),
        np.concatenate(sources),
        np.array(users),
        held.cases,
    )


def blended(table: Table, weights: Mapping[SignalName, float]) -> Floats:
    return table.signals @ np.array([weights[name] for name in SIGNALS], np.float32)


def choose_weights(table: Table) -> dict[SignalName, float]:
    """Weights with the best NDCG@10, one signal after the other."""
    if not len(table.hit):
        return dict(START)
    best, before = dict(START), table.ndcg(blended(table, START))
    for _ in range(_ROUNDS):
        for name, steps in _STEPS.items():
            found = {step: table.ndcg(blended(table, best | {name: step})) for step in steps if step != best[name]}
            step = max(found, key=lambda s: found[s].sum())
            gain = found[step] - before
            if gain.sum() > 0:
                best, before = best | {name: step}, found[step]
    return best


def scaled(table: Table, weights: Mapping[SignalName, float]) -> dict[SignalName, float]:
    """The same order, at a scale on which LambdaRank's logistic function tells the best candidates apart: trees then
    correct the blend, and nothing is left of it where they have nothing to say.
    """
    if not len(table.hit):
        return dict(weights)
    few = table.best(blended(table, weights), RESCORED)
    scores = blended(few, weights)
    means = np.bincount(few.owners, scores) / np.diff(few.offsets)
    spread = float(np.sqrt(np.mean((scores - means[few.owners]) ** 2)))
    return {name: weight * _SPREAD / max(spread, 1e-6) for name, weight in weights.items()}


def train_ranker(
    table: Table, weights: Mapping[SignalName, float], seed: int, threads: int = 1
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
    found = float((before.sum() + gains[chosen].sum()) / max(table.cases, 1))
    if gains[chosen].sum() <= SURE * error:
        return None, found
    model = _fit(columns, few, scores, np.ones(len(columns), bool), _TREES[chosen], seed)
    return str(model.model_to_string()), found


def _fit(
    columns: Floats,
    table: Table,
    scores: Floats,
    keep: npt.NDArray[np.bool_],
    trees: int,
    seed: int,
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
