"""Interactions as columns, grouped by user and in order of time within a user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys.data.by_user import ByUser
from recsys.data.dislikes import Dislikes
from recsys.datatypes import Floats, Keys, item_keys
from recsys.model.space import LONG_HALF_LIFE
from recsys.state.tie_breaking import ties

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interactions(ByUser):
    """n interactions of U users with I items.

    `items` are positions in `item_ids`. `weights`: (n,) float32, above 0. `times`: (n,) float64, Unix seconds. A user
    has an item once at most. `item_ids` may have items without interactions: they can be recommended too.
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    offsets: Ints
    items: Ints
    weights: Floats
    times: npt.NDArray[np.float64]
    disliked: Dislikes | None = None
    """Of the same users; None: there are none."""

    @classmethod
    def of(
        cls,
        users: Sequence[str],
        items: Sequence[str],
        times: Sequence[float],
        weights: Sequence[float] | None = None,
        catalogue: Sequence[str] | None = None,
    ) -> Interactions:
        """Return the interactions of rows in any order. Their order and repeated rows do not change the result.

        `times`: Unix seconds. `weights` None: 1 each. `catalogue` None: the items that occur, sorted. Rows with other
        items are left out.

        Rows of one user and item become at most one interaction, as in a profile (`model/profiles.py`). None, when the
        newest row's weight is not positive. Otherwise it has the time of the newest row, and the largest weight since
        the last row whose weight is not positive. Of rows at one moment, those with a weight that is not positive count
        as newest, and different items have the order of `state/tie_breaking.py`. Where the newest row's weight is under
        0, the item is among the user's `disliked`; those of users without an interaction are left out.
        """
        weight = np.ones(len(users), np.float32) if weights is None else np.asarray(weights, np.float32)
        item_ids = sorted(set(items)) if catalogue is None else list(catalogue)
        place = {item: i for i, item in enumerate(item_ids)}
        codes = np.fromiter((place.get(item, -1) for item in items), np.int64, len(items))
        names = sorted({u for u, c in zip(users, codes.tolist(), strict=True) if c >= 0})
        number = {user: u for u, user in enumerate(names)}
        owners = np.fromiter((number.get(user, -1) for user in users), np.int64, len(users))
        stamps = np.asarray(times, np.float64)
        rows, strongest, against = _newest(owners, codes, stamps, weight)
        active, owner = np.unique(owners[rows], return_inverse=True)
        order = np.lexsort((codes[rows], _ties(names, item_ids, owners[rows], codes[rows]), stamps[rows], owner))
        rows, strongest, owner = rows[order], strongest[order], owner[order]
        offsets = np.searchsorted(owner, np.arange(len(active) + 1))
        against = against[np.isin(owners[against], active)]
        against = against[np.lexsort((codes[against], stamps[against], owners[against]))]
        limits = np.searchsorted(owners[against], np.append(active, len(names)))
        disliked = Dislikes(limits, codes[against], stamps[against]) if len(against) else None
        user_ids = [names[u] for u in active.tolist()]
        return cls(user_ids, item_ids, offsets, codes[rows], strongest, stamps[rows], disliked)

    @property
    def ages(self) -> Ints:
        """(n,) number of later interactions of the same user."""
        return self.offsets[self.owners + 1] - 1 - np.arange(len(self))

    @property
    def tied_last(self) -> float:
        """Share of users whose last two interactions have one time, of those with two or more. 0: there are none."""
        last = self.offsets[1:][self.lengths > 1] - 1
        return float((self.times[last] == self.times[last - 1]).mean()) if len(last) else 0.0

    @property
    def until(self) -> float:
        """Unix seconds of the newest interaction. 0: there is none."""
        return float(self.times.max(initial=0.0))

    def where(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        """Return the interactions selected by an (n,) bool. All users stay, also those left without any, and so do all
        dislikes.
        """
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets]
        return Interactions(
            self.user_ids, self.item_ids, offsets, self.items[keep], self.weights[keep], self.times[keep], self.disliked
        )

    def disliked_until(self, limits: npt.NDArray[np.float64]) -> Interactions:
        """Return the same with the dislikes up to a moment for each user: (U,) float64, Unix seconds."""
        return self if self.disliked is None else replace(self, disliked=self.disliked.until(limits))

    def newest(self, most: int) -> Interactions:
        """Return the newest interactions, `most` of them, without users who have none, and the dislikes that are not
        older than the first of them. Ties have the usual order.
        """
        if len(self) <= most:
            return self
        keep = np.zeros(len(self), bool)
        tied = _ties(self.user_ids, self.item_ids, self.owners, self.items)
        keep[np.lexsort((tied, self.times))[len(self) - most :]] = True
        newest = self.where(keep)
        if self.disliked is not None:
            newest = replace(newest, disliked=self.disliked.since(float(newest.times.min(initial=np.inf))))
        return newest.select(np.flatnonzero(newest.lengths))

    def select(self, users: Ints) -> Interactions:
        """Return the given users in that order. A user may be given several times."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        names = [self.user_ids[u] for u in users.tolist()]
        disliked = None if self.disliked is None else self.disliked.select(users)
        return Interactions(names, self.item_ids, offsets, self.items[at], self.weights[at], self.times[at], disliked)

    def counts(self) -> npt.NDArray[np.float64]:
        """Return the (I,) float64 sum of weights of each item."""
        return np.bincount(self.items, self.weights, minlength=len(self.item_ids)).astype(np.float64)

    def sha256(self) -> str:
        """Return the checksum of everything that a model learns from."""
        digest = hashlib.sha256("\n".join([*self.user_ids, "", *self.item_ids]).encode())
        against = self.disliked
        more = (against.offsets, against.items, against.times) if against else ()
        for column in (self.offsets, self.items, self.weights, self.times, *more):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


def _ties(user_ids: Sequence[str], item_ids: Sequence[str], owners: Ints, items: Ints) -> Keys:
    """Return (n,) uint64 tie-breaking keys, see `state/tie_breaking.py`. Only ids that occur are hashed."""
    (users, user), (occurring, item) = np.unique(owners, return_inverse=True), np.unique(items, return_inverse=True)
    of_users, of_items = item_keys(user_ids[u] for u in users), item_keys(item_ids[i] for i in occurring)
    return ties(of_users[user], of_items[item])


def _newest(owners: Ints, codes: Ints, stamps: npt.NDArray[np.float64], weight: Floats) -> tuple[Ints, Floats, Ints]:
    """Return the newest row of each user and item, if its weight is positive, with the weight of the interaction; and
    the newest row of those where its weight is under 0.

    Rows with code -1 are left out. See `Interactions.of` for the rule.
    """
    rows = np.flatnonzero(codes >= 0)
    if not len(rows):
        return rows, weight[rows], rows
    rows = rows[np.lexsort((-weight[rows], weight[rows] <= 0, stamps[rows], codes[rows], owners[rows]))]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (np.diff(owners[rows]) != 0) | (np.diff(codes[rows]) != 0)
    starts = np.flatnonzero(fresh)
    group, place = np.cumsum(fresh) - 1, np.arange(len(rows))
    withdrawn = np.maximum.reduceat(np.where(weight[rows] > 0, -1, place), starts)
    valid = place > withdrawn[group]
    strongest = np.maximum.reduceat(np.where(valid, weight[rows], 0), starts)
    last = np.append(starts[1:], len(rows)) - 1
    liked = valid[last]
    against = last[weight[rows[last]] < 0]
    return rows[last[liked]], strongest[liked].astype(np.float32), rows[against]


def faded(histories: Interactions, half_life: float) -> sp.csr_array:
    """Return (U, I) float32: each item's weight, halved for every `half_life` interactions that came later."""
    fading = (0.5 ** (histories.ages / half_life)).astype(np.float32) * histories.weights
    shape = (histories.users, len(histories.item_ids))
    return sp.csr_array((fading, histories.items, histories.offsets), shape)


def taste_rows(histories: Interactions, half_life: float, long_weight: float) -> sp.csr_array:
    """Return (U, I) float32: the weights of the history's items in a user vector, short plus long part; see `Space`."""
    short = faded(histories, half_life)
    return sp.csr_array(short + long_weight * faded(histories, LONG_HALF_LIFE)) if long_weight else short
