"""Work in a thread beside searches, which has pauses: without them it takes a core for slices of some milliseconds."""

from __future__ import annotations

import time


class Pace:
    """`rest` is called between two steps of the work."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def rest(self, pauses: float) -> None:
        """Pause for `pauses` times as long as the work since the pause before, or since the beginning, has taken."""
        time.sleep((time.monotonic() - self._since) * pauses)
        self._since = time.monotonic()
