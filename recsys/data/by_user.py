"""Rows of many users in one array, by user."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class ByUser:
    """User u of U has the rows `offsets[u]:offsets[u + 1]`, oldest first.

    `offsets`: (U + 1,) int64. `items`: (n,) int64, one a row.
    """

    __slots__ = ()

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def users(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(U,) rows of each user."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """(n,) the user of each row."""
        return np.repeat(np.arange(self.users), self.lengths)

    def of_user(self, user: int) -> npt.NDArray[np.int64]:
        """Return a user's (m,) int64 items, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]
