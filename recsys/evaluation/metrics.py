"""Metrics of ranked lists. `lists` is always (cases, k) int64 item positions, best first, padded with -1."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.evaluation.splits import Holdout

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

DEPTH = 100
"""Length of the lists that are evaluated."""
_SHOWN = 10
"""Items of a list that a user sees. Coverage, novelty and distance are measured on these."""
_RARE = 5
"""An item with fewer training interactions counts as cold."""
_RESAMPLES = 1000
"""Samples of the bootstrap."""


def relevance(lists: Ints, holdout: Holdout) -> npt.NDArray[np.bool_]:
    """Return (cases, k) bool: whether the item is a target of its case."""
    width = len(holdout.train.item_ids) + 1
    targets = np.repeat(np.arange(holdout.cases), np.diff(holdout.target_offsets)) * width + holdout.targets
    return np.isin(np.arange(holdout.cases)[:, None] * width + lists, targets) & (lists >= 0)


def per_case(lists: Ints, holdout: Holdout) -> dict[str, Doubles]:
    """Return the accuracy of each case, (cases,) float64 for each metric:

    ndcg@10    sum of 1/log2(rank + 1) over hits in the first 10, over its largest value (Järvelin and Kekäläinen 2002)
    hr@k       1 if a target is among the first k
    recall@k   share of the targets among the first k
    mrr        1/rank of the first hit, 0 without a hit
    """
    hits = relevance(lists, holdout)
    targets = np.maximum(np.diff(holdout.target_offsets), 1)
    gains = 1.0 / np.log2(np.arange(2, lists.shape[1] + 2))
    ideal = np.cumsum(gains)[np.minimum(targets, 10) - 1]
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    return {
        "ndcg@10": (hits[:, :10] * gains[:10]).sum(axis=1) / ideal,
        "hr@10": hits[:, :10].any(axis=1).astype(float),
        "hr@100": hits[:, :100].any(axis=1).astype(float),
        "recall@20": hits[:, :20].sum(axis=1) / targets,
        "recall@100": hits[:, :100].sum(axis=1) / targets,
        "mrr": 1.0 / first,
    }


def over_lists(lists: Ints, holdout: Holdout, vectors: Floats) -> dict[str, float]:
    """Return metrics that do not depend on the targets, on the first 10 items of each list:

    coverage            share of the catalogue that is in any list
    novelty             mean of -log2(share of users who had the item), in bits (Zhou et al. 2010)
    intra_list_distance mean of 1 - cosine over pairs in a list, by (I, d) unit text `vectors` (Ziegler et al. 2005)
    cold_share          share of items with fewer than 5 training interactions
    """
    shown = lists[:, :_SHOWN]
    filled = shown >= 0
    if not filled.any():
        return {"coverage": 0.0, "novelty": 0.0, "intra_list_distance": 0.0, "cold_share": 0.0}
    seen_by = np.bincount(holdout.train.items, minlength=len(holdout.train.item_ids))
    share = (seen_by + 1) / (holdout.train.users + 1)
    sums = np.einsum("ck,ckd->cd", filled.astype(np.float32), vectors[shown])
    sizes = filled.sum(axis=1)
    pairs = sizes * (sizes - 1)
    likeness = (np.einsum("cd,cd->c", sums, sums) - sizes)[pairs > 0] / pairs[pairs > 0]
    return {
        "coverage": float(len(np.unique(shown[filled])) / len(seen_by)),
        "novelty": float(-np.log2(share[shown[filled]]).mean()),
        "intra_list_distance": float((1.0 - likeness).mean()) if len(likeness) else 0.0,
        "cold_share": float((seen_by[shown[filled]] < _RARE).mean()),
    }


def judge(lists: Ints, holdout: Holdout, vectors: Floats, seed: int = 7) -> dict[str, float | list[float]]:
    """Return the means of all metrics, and each accuracy's 95 % interval as `<name>_ci`, by bootstrap over cases."""
    cases = per_case(lists, holdout)
    drawn = _resampled(holdout.cases, seed)
    means: dict[str, float | list[float]] = {name: float(values.mean()) for name, values in cases.items()}
    for name, values in cases.items():
        means[f"{name}_ci"] = _interval(drawn, values)
    return {**means, **over_lists(lists, holdout, vectors)}


def better(one: Ints, other: Ints, holdout: Holdout, metric: str = "ndcg@10", seed: int = 7) -> Mapping[str, float]:
    """Return the mean difference of `one` and `other` on the same cases, with its 95 % interval."""
    gap = per_case(one, holdout)[metric] - per_case(other, holdout)[metric]
    low, high = _interval(_resampled(holdout.cases, seed), gap)
    return {"gap": float(gap.mean()), "low": low, "high": high}


def _resampled(cases: int, seed: int) -> Doubles:
    """Return (_RESAMPLES, cases) float64: the share of each case in each bootstrap sample."""
    return np.random.default_rng(seed).multinomial(cases, np.full(cases, 1.0 / cases), _RESAMPLES) / cases


def _interval(drawn: Doubles, values: Doubles) -> list[float]:
    """Return the 95 % interval of the mean of (cases,) values over the samples of `_resampled`."""
    low, high = np.percentile(drawn @ values, [2.5, 97.5]).tolist()
    return [low, high]
