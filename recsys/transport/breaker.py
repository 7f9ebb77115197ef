"""A circuit breaker (Nygard 2007, "Release It!"): a part that is late every time is asked only now and then."""

from __future__ import annotations

import time

_FAILURES = 3
"""Failures in a row that open the circuit. One late batch does not mean a dead part."""
PAUSE_S = 0.5
"""Seconds between two tries while the circuit is open."""


class Breaker:
    """Keeps requests from waiting their whole budget for a part that is away."""

    def __init__(self) -> None:
        self._failures = 0
        self._next_try = 0.0

    @property
    def closed(self) -> bool:
        """Whether the part is asked always."""
        return self._failures < _FAILURES

    def allows(self) -> bool:
        """Whether to ask the part. While the circuit is open, one caller in each pause may, and its outcome decides."""
        if self.closed:
            return True
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + PAUSE_S
        return True

    def record(self, *, answered: bool) -> bool:
        """Record the outcome. Return True when this failure opens the circuit."""
        self._failures = 0 if answered else self._failures + 1
        opens = self._failures == _FAILURES
        if opens:
            self._next_try = time.monotonic() + PAUSE_S
        return opens
