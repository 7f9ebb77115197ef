"""What is kept from training to judge by: histories, and what came after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.interactions import Interactions

Ints = npt.NDArray[np.int64]

_ROLLS = 5
"""Positions before the last one that validation predicts: one a user is too noisy to choose parameters by (the standard
error of NDCG@10 over MovieLens 100K's 943 users is 0.008, larger than what most parameters change)."""

_FEWEST = 50
"""Users that a moment for all must leave to choose parameters by."""


@dataclass(frozen=True, slots=True)
class Holdout:
    """`train` is all that may be learned from; case i asks what follows history i, and `targets` are the answer.

    `histories` has a row a case (a user may have several); the targets of case i stand at
    `target_offsets[i]:target_offsets[i + 1]`, none of them in its history. `now` is (cases,) Unix seconds.
    """

    train: Interactions
    histories: Interactions
    targets: Ints
    target_offsets: Ints
    now: npt.NDArray[np.float64]

    @property
    def cases(self) -> int:
        return self.histories.users

    def select(self, cases: Ints) -> Holdout:
        """Only the given cases."""
        parts = [self.targets[self.target_offsets[c] : self.target_offsets[c + 1]] for c in cases.tolist()]
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)])
        targets = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return Holdout(self.train, self.histories.select(cases), targets, offsets, self.now[cases])

    def sample(self, most: int, seed: int) -> Holdout:
        """At most this many cases, drawn at random."""
        if self.cases <= most:
            return self
        return self.select(np.sort(np.random.default_rng(seed).choice(self.cases, most, replace=False)))


Split = Callable[[Interactions], Holdout]


def leave_last_out(data: Interactions) -> Holdout:
    """The last interaction of every user that has three is to be predicted from those before it."""
    return _last(data, 1)


def rolling(data: Interactions) -> Holdout:
    """Validation of `leave_last_out`'s training part: each user's last interaction there (of the whole, the last but
    one) and up to four before it, each from what came before; the model learns from nothing behind the first of them.
    At most a quarter of a history is kept back.
    """
    return _last(data, _ROLLS)


def _last(data: Interactions, most: int) -> Holdout:
    lengths = data.lengths
    rolls = np.where(lengths >= 3 - (most > 1), np.clip(lengths // 4, 1, most), 0)
    train = data.where(data.ages >= rolls[data.owners])
    users = np.repeat(np.arange(data.users), rolls)
    # 1 for a user's last interaction, 2 for the one before it, …
    back = np.arange(len(users)) - np.repeat(np.cumsum(rolls) - rolls, rolls) + 1
    cases = data.select(users)
    targets = cases.items[cases.offsets[1:] - back]
    histories = cases.where(cases.ages >= back[cases.owners])
    return Holdout(train, histories, targets, np.arange(len(users) + 1), cases.times[cases.offsets[1:] - back])


def by_time(data: Interactions, share: float = 0.1) -> Holdout:
    """One moment for all: what lies after it (this share of the interactions) is to be predicted, for every user with a
    history before it, from that history.
    """
    return since(data, float(np.quantile(data.times, 1.0 - share)) if len(data) else 0.0)


def upcoming(data: Interactions) -> Holdout:
    """What a live platform is asked for next: one moment for all, as trends and popularity are those of a moment too.
    `rolling` where so few users come back after it that chance would choose.
    """
    holdout = by_time(data)
    return holdout if holdout.cases >= _FEWEST else rolling(data)


def since(data: Interactions, moment: float) -> Holdout:
    """What lies after the moment, in Unix seconds, is to be predicted from what does not; see `by_time`."""
    before = data.times <= moment
    train, after = data.where(before), data.where(~before)
    users = np.flatnonzero((train.lengths > 0) & (after.lengths > 0))
    later = after.select(users)
    return Holdout(train, train.select(users), later.items, later.offsets, np.full(len(users), moment))
