"""Splits of interactions into a training set and held-out cases: a history and the interactions after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.dislikes import Dislikes
from recsys.data.interactions import Interactions

Ints = npt.NDArray[np.int64]

_ROLLS = 5
"""Interactions of each user that validation predicts. One would be too noisy: the standard error of NDCG@10 over
MovieLens 100K's 943 users is 0.008, more than most parameters change."""

_FEWEST = 50
"""Least users with interactions after a common moment for choosing parameters on them."""


@dataclass(frozen=True, slots=True)
class Holdout:
    """A training set and cases: history i is given, and its targets are to be predicted.

    `train`: the interactions that may be learned from. `histories`: one for each case; a user may have several cases.
    `targets`: int64 item positions; case i has `target_offsets[i]:target_offsets[i + 1]`, none of them in its history.
    `now`: (cases,) float64 Unix seconds of each prediction.
    """

    train: Interactions
    histories: Interactions
    targets: Ints
    target_offsets: Ints
    now: npt.NDArray[np.float64]
    disliked: Dislikes | None = None
    """What the user of each case dislikes, whenever that was said; None: nothing. Training has it as negatives."""

    @property
    def cases(self) -> int:
        return self.histories.users

    def target_ids(self, case: int) -> list[str]:
        """Return the items that are to be predicted for a case, by their ids."""
        own = self.targets[self.target_offsets[case] : self.target_offsets[case + 1]]
        return [self.train.item_ids[item] for item in own.tolist()]

    def select(self, cases: Ints) -> Holdout:
        """Return the given cases."""
        parts = [self.targets[self.target_offsets[c] : self.target_offsets[c + 1]] for c in cases.tolist()]
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)])
        targets = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        disliked = None if self.disliked is None else self.disliked.select(cases)
        return Holdout(self.train, self.histories.select(cases), targets, offsets, self.now[cases], disliked)

    def sample(self, most: int, seed: int) -> Holdout:
        """Return a random sample of at most this many cases."""
        if self.cases <= most:
            return self
        return self.select(np.sort(np.random.default_rng(seed).choice(self.cases, most, replace=False)))


Split = Callable[[Interactions], Holdout]


def leave_last_out(data: Interactions) -> Holdout:
    """Hold out the last interaction of every user with three or more."""
    return _last(data, 1)


def rolling(data: Interactions) -> Holdout:
    """Hold out each user's last interactions, up to five and a quarter of the history. Each is predicted from those
    before it.

    It is the validation split of `leave_last_out`'s training set. The model learns from no interaction after the first
    one held out.
    """
    return _last(data, _ROLLS)


def _last(data: Interactions, most: int) -> Holdout:
    lengths = data.lengths
    rolls = np.where(lengths >= 3 - (most > 1), np.clip(lengths // 4, 1, most), 0)
    train = data.where(data.ages >= rolls[data.owners])
    train = train.disliked_until(
        np.where(train.lengths > 0, np.append(train.times, 0.0)[train.offsets[1:] - 1], -np.inf)
    )
    users = np.repeat(np.arange(data.users), rolls)
    # 1 for a user's last interaction, 2 for the one before it, …
    back = np.arange(len(users)) - np.repeat(np.cumsum(rolls) - rolls, rolls) + 1
    cases = data.select(users)
    targets = cases.items[cases.offsets[1:] - back]
    histories = cases.where(cases.ages >= back[cases.owners])
    now = cases.times[cases.offsets[1:] - back]
    return Holdout(train, histories, targets, np.arange(len(users) + 1), now, cases.disliked)


def by_time(data: Interactions, share: float = 0.1) -> Holdout:
    """Hold out this share of the interactions, those after a common moment, of every user with a history before it."""
    return since(data, float(np.quantile(data.times, 1.0 - share)) if len(data) else 0.0)


def upcoming(data: Interactions) -> Holdout:
    """Split by a common moment, as a live platform predicts: trends and popularity are those of one moment too.

    If fewer than _FEWEST users come back after it, split by `rolling`.
    """
    holdout = by_time(data)
    return holdout if holdout.cases >= _FEWEST else rolling(data)


def since(data: Interactions, moment: float) -> Holdout:
    """Hold out the interactions after the moment, in Unix seconds; see `by_time`."""
    before = data.times <= moment
    train, after = data.where(before).disliked_until(np.full(data.users, moment)), data.where(~before)
    users = np.flatnonzero((train.lengths > 0) & (after.lengths > 0))
    later = after.select(users)
    now = np.full(len(users), moment)
    return Holdout(train, train.select(users), later.items, later.offsets, now, later.disliked)
