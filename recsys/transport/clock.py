"""The time budget of a batch."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")


class Clock:
    """What is left of a batch's budget, and how long each stage and each call took."""

    def __init__(self, budget_s: float, since: float | None = None) -> None:
        """`since`: start of the budget, by time.monotonic(); None: now."""
        self.began = time.time()
        """Unix seconds."""
        self._start = self._last = time.perf_counter()
        self._budget_s = budget_s if since is None else budget_s - (time.monotonic() - since)
        self.laps: dict[str, float] = {}
        """Stage -> milliseconds."""
        self.calls: dict[str, tuple[float, float]] = {}
        """Part -> milliseconds from the beginning to its call and to its answer; infinity: it has not answered."""

    def left(self) -> float:
        """Seconds that are left; negative when the budget is spent."""
        return self._budget_s - (time.perf_counter() - self._start)

    def lap(self, stage: str) -> None:
        """End a stage, which began with the end of the one before."""
        now = time.perf_counter()
        self.laps[stage] = (now - self._last) * 1000
        self._last = now

    def now(self) -> float:
        """Milliseconds from the beginning."""
        return (time.perf_counter() - self._start) * 1000

    async def timed(self, part: str, call: Awaitable[R], called: float | None = None) -> R:
        """The call's answer. Measure how long it takes. `called`: when it was called, see `now`; None: now."""
        called = self.now() if called is None else called
        self.calls[part] = (called, math.inf)
        try:
            answer = await call
        except Exception:
            self.calls[part] = (called, self.now())
            raise
        self.calls[part] = (called, self.now())
        return answer
