"""What users said against items, as columns: negatives for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.by_user import ByUser

Ints = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dislikes(ByUser):
    """m dislikes of U users: items about which the user's newest word has a weight under 0.

    `items` are positions in the item ids of the interactions that they belong to. `times`: (m,) float64, Unix seconds.
    """

    offsets: Ints
    items: Ints
    times: Seconds

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
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        return Dislikes(offsets, self.items[at], self.times[at])
