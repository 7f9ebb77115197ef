"""Whether dislikes are negatives of a model: only if they are surely worth it on validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.datatypes import item_keys
from recsys.evaluation.metrics import per_case
from recsys.evaluation.splits import Holdout
from recsys.model.attention import Attention
from recsys.model.card import Negatives
from recsys.model.profiles import TRAIL
from recsys.training.parameter_search import ranked
from recsys.training.ranker_training import SURE

_SHOWN = 10
_SCORES = 20_000_000
"""Scores in memory at a time: 80 MB."""
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Lists:
    """What a network's lists of ten are worth. `ndcg`, `shown`: (cases,) float64, as in `Negatives`."""

    ndcg: Doubles
    shown: Doubles

    @classmethod
    def of(cls, network: Attention, cases: Holdout) -> _Lists:
        lists = _best(network, cases)
        return cls(per_case(lists, cases)["ndcg@10"], _disliked_later(lists, cases))


def judge(told: Attention | None, plain: Attention | None, cases: Holdout) -> Negatives:
    """Compare a network that learned from dislikes with one of likes alone.

    Dislikes are used when NDCG@10 is surely higher with them, or when surely fewer dislikes are shown and NDCG@10 is
    not lower. "Surely" is with 95 % certainty, as for trees.
    """
    if told is None or plain is None or not cases.cases:
        return Negatives(
            used=False, reason="no user's likes tell whether they help", gap=0, gap_error=0, shown=0, shown_error=0
        )
    users = np.unique(cases.histories.user_ids, return_inverse=True)[1]
    one, other = _Lists.of(told, cases), _Lists.of(plain, cases)
    gap, gap_error = _mean(one.ndcg - other.ndcg, users)
    shown, shown_error = _mean(one.shown - other.shown, users)
    better, fewer = gap > SURE * gap_error, shown < -SURE * shown_error
    if better:
        used, reason = True, "NDCG@10 is surely higher with them"
    elif not fewer:
        used, reason = False, "they neither surely raise NDCG@10 nor surely keep dislikes out of the first ten"
    elif gap < 0:
        used, reason = False, "they keep dislikes out of the first ten, but NDCG@10 is lower with them"
    else:
        used, reason = True, "they surely keep dislikes out of the first ten, and NDCG@10 is not lower with them"
    return Negatives(used=used, reason=reason, gap=gap, gap_error=gap_error, shown=shown, shown_error=shown_error)


def _mean(difference: Doubles, users: Ints) -> tuple[float, float]:
    """Return the mean over cases and its standard error. The cases of a user are not independent."""
    by_user = np.bincount(users, difference - difference.mean())
    return float(difference.mean()), float(np.sqrt((by_user**2).sum()) / len(difference))


def _best(network: Attention, cases: Holdout) -> Ints:
    """Return (cases, 10) int64 item positions, best first, -1 where the network ranks nothing."""
    keys = item_keys(cases.train.item_ids)
    order = np.argsort(keys)
    items = order[np.searchsorted(keys[order], network.keys)]
    lists = np.full((cases.cases, _SHOWN), -1, np.int64)
    block = max(_SCORES // len(keys), 1)
    for start in range(0, cases.cases, block):
        histories = cases.histories.select(np.arange(start, min(start + block, cases.cases)))
        last = histories.where(histories.ages < TRAIL)
        newest_first = np.lexsort((last.ages, last.owners))
        users, expected, _ = network.expected(keys[last.items[newest_first]], last.offsets)
        scores = np.full((len(users), len(keys)), -np.inf, np.float32)
        scores[:, items] = expected @ network.items.T
        lists[start + users] = ranked(scores, histories.select(users), _SHOWN)
    return lists


def _disliked_later(lists: Ints, cases: Holdout) -> Doubles:
    """Return (cases,) how many items of each list its user disliked after what was learned from."""
    later = cases.disliked
    if later is None:
        return np.zeros(len(lists))
    width = len(cases.train.item_ids) + 1
    wanted = later.owners * width + later.items
    if (learned := cases.train.disliked) is not None:
        number = {user: n for n, user in enumerate(cases.train.user_ids)}
        before = learned.select(np.array([number[user] for user in cases.histories.user_ids], np.int64))
        wanted = np.setdiff1d(wanted, before.owners * width + before.items)
    return np.isin(np.arange(len(lists))[:, None] * width + lists, wanted).sum(axis=1).astype(np.float64)
