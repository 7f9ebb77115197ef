"""Whether this process has stood still: stopped, swapped out, or its machine asleep.

Others take a replica that is silent for a while for gone, and no longer wait until it has applied a change. When it
wakes it must not answer before it has read what came meanwhile.
"""

from __future__ import annotations

import math
import time

from recsys.state.presence import SAY_S
from recsys.state.register import STALE_S

LOOK_S = 0.25
"""Seconds between two looks at the clock."""
LONGEST_S = (STALE_S - SAY_S) / 2
"""Seconds between two looks beyond which the process has stood still: well before others take it for gone."""


class Standstill:
    def __init__(self) -> None:
        self._looked = time.monotonic()
        self.ended = -math.inf
        """When the last one was noticed, by time.monotonic(); -inf: there was none."""

    def look(self) -> None:
        """To be called every LOOK_S seconds, and before what must not be answered from before a standstill."""
        now = time.monotonic()
        if now - self._looked > LONGEST_S:
            self.ended = now
        self._looked = now
