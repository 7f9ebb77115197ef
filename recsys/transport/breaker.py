"""A circuit breaker (Nygard 2007, "Release It!"): a part that is late every time is asked now and then only."""

from __future__ import annotations

import time

_FAILURES = 3
"""In a row, after which the circuit is open: one late batch is no dead part."""
_PAUSE_S = 0.5
"""Between two tries while it is open."""


class Breaker:
    """Without it every request would wait its whole budget for a part that is away."""

    def __init__(self) -> None:
        self._failures = 0
        self._next_try = 0.0

    def allows(self) -> bool:
        """Whether to ask. While the circuit is open one caller in each pause may, and its outcome decides."""
        if self._failures < _FAILURES:
            return True
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + _PAUSE_S
        return True

    def record(self, *, answered: bool) -> bool:
        """What came of asking. True when this opens the circuit: the moment to say so."""
        self._failures = 0 if answered else self._failures + 1
        opens = self._failures == _FAILURES
        if opens:
            self._next_try = time.monotonic() + _PAUSE_S
        return opens
