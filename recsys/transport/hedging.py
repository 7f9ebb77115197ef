"""When a call to a shard is late, and whether another replica may be asked too (Dean and Barroso 2013, "The Tail at
Scale").

An answer of many shards waits for the slowest of them. A call that takes longer than nearly all is made again at a
sister replica, and the first answer counts. What that costs is bounded: while every call is late, as in an overload,
asking twice would make it worse.
"""

from __future__ import annotations

from collections import deque

_WINDOW = 256
"""Calls whose times say what late is."""
_RENEWED = 32
"""Calls after which that is said anew."""
_FEWEST = 64
"""With fewer no call counts as late."""
_SAVED = 8.0
"""Calls that may be made again in a row, once saved up: a replica that stands still is met by several batches."""
_EARNED = 0.8
_BEFORE = 160
"""Among 800 calls in a row, or more, never a larger share than allowed is made again, whatever was saved up before
them: each call earns four fifths of the share, and no more is saved than 160 calls allow, a fifth of 800."""


class Hedging:
    """Of one shard. `share`: calls that may be made again, for each call; 0: none. It holds from the first call on, and
    for any 800 calls in a row.
    """

    def __init__(self, share: float = 0.05) -> None:
        self.share = share
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self._recorded = 0
        self._late_s: float | None = None
        self._saved = 0.0

    @property
    def late_s(self) -> float | None:
        """Seconds after which a call is late, which all but `share` of calls are not; None: not to be said yet."""
        return self._late_s if self.share else None

    def record(self, took_s: float) -> None:
        """Note a call that was answered; of one that was made again, by whichever replica was first."""
        self._times.append(took_s)
        most = min(self.share * _BEFORE, _SAVED)
        self._saved = min(self._saved + _EARNED * self.share, most)
        self._recorded += 1
        if self._recorded % _RENEWED == 0 and len(self._times) >= _FEWEST:
            times = sorted(self._times)
            self._late_s = times[min(int(len(times) * (1.0 - self.share)), len(times) - 1)]

    def spend(self) -> bool:
        """Whether a late call may be made again now; it counts as made."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
