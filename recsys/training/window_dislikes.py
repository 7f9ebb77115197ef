"""Where users' dislikes stand in the windows of likes that the attention network learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.interactions import Interactions
from recsys.model.profiles import TRAIL

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowDislikes:
    """m dislikes in w windows, see `attention.py`. Window i has the rows `starts[i]:starts[i + 1]`.

    A dislike stands at the position that predicts the user's next like after it, or the last one where none follows.
    `starts`: (w + 1,) int64. `positions`: (m,) int64 from 0 to TRAIL - 1. `codes`: (m,) int64, items of the network.
    """

    starts: Ints
    positions: Ints
    codes: Ints

    @classmethod
    def of(cls, data: Interactions, code: Ints) -> WindowDislikes:
        """`code`: (I,) the network's number of each item, 0 for those that it does not have."""
        against, none = data.disliked, np.zeros(0, np.int64)
        windows = np.where(data.lengths > 1, -(-(data.lengths - 1) // TRAIL), 0)
        first = np.cumsum(windows) - windows
        if against is None:
            return cls(np.zeros(windows.sum() + 1, np.int64), none, none)
        codes, owners = code[against.items], against.owners
        keep = (codes > 0) & (data.lengths[owners] > 1)
        codes, owners, times = codes[keep], owners[keep], against.times[keep]
        likes_before = np.fromiter(
            (
                np.searchsorted(data.times[data.offsets[u] : data.offsets[u + 1]], t, side="right")
                for u, t in zip(owners.tolist(), times.tolist(), strict=True)
            ),
            np.int64,
            len(owners),
        )
        target = np.clip(likes_before, 1, data.lengths[owners] - 1)
        behind = data.lengths[owners] - 1 - target
        window = first[owners] + behind // TRAIL
        order = np.argsort(window, kind="stable")
        starts = np.searchsorted(window[order], np.arange(windows.sum() + 1))
        return cls(starts, (TRAIL - 1 - behind % TRAIL)[order], codes[order])

    def among(self, windows: Ints) -> tuple[Ints, Ints]:
        """Return the dislikes of some windows: (n,) places among the positions of all of these, end to end, and (n,)
        codes.
        """
        lengths = self.starts[windows + 1] - self.starts[windows]
        line = np.repeat(np.arange(len(windows)), lengths)
        at = np.arange(lengths.sum()) + np.repeat(self.starts[windows] - (np.cumsum(lengths) - lengths), lengths)
        return line * TRAIL + self.positions[at], self.codes[at]
