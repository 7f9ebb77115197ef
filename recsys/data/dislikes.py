"""What users said against items, as columns: negatives for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dislikes:
    """m dislikes of U users: items about which the user's newest word has a weight under 0.

    User u has the rows `offsets[u]:offsets[u + 1]`, oldest first. `offsets`: (U + 1,) int64. `items`: (m,) int64,
    positions in the item ids of the interactions that they belong to. `times`: (m,) float64, Unix seconds.
    """

    offsets: Ints
    items: Ints
    times: Seconds

    def __len__(self) -> int:
        return len(self.items)

    @property
    def users(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> Ints:
        """(m,) the user of each dislike."""
        return np.repeat(np.arange(self.users), np.diff(self.offsets))

    def of_user(self, user: int) -> Ints:
        """Return a user's (n,) int64 items, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def where(self, keep: npt.NDArray[np.bool_]) -> Dislikes:
        """Return the dislikes selected by an (m,) bool. All users stay."""
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets]
        return Dislikes(offsets, self.items[keep], self.times[keep])

    def until(self, limits: Seconds) -> Dislikes:
        """Return the dislikes up to a moment for each user: (U,) float64, Unix seconds."""
        return self.where(self.times <= limits[self.owners])

    def since(self, moment: float) -> Dislikes:
        """Return the dislikes from a moment on, in Unix seconds."""
        return self.where(self.times >= moment)

    def select(self, users: Ints) -> Dislikes:
        """Return those of the given users in that order. A user may be given several times."""
        lengths = np.diff(self.offsets)[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        return Dislikes(offsets, self.items[at], self.times[at])
