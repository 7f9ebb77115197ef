"""Time that passes at once."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """By which this process waits: limits, pauses and budgets. It goes on by itself, and `forward` moves it on.

    A test that waits until a budget is spent would need a short budget, and on a slow machine everything else would be
    late as well. Here the budget is long, and passes when all that should be in time has come.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def forward(self, seconds: float) -> None:
        """Answers of Redis that are under way have 20 s, also by this clock."""
        self._ahead_s += seconds

    def moved(self, plain: Callable[[], float]) -> Callable[[], float]:
        """A clock of the `time` module, moved on as much."""
        return lambda: plain() + self._ahead_s
