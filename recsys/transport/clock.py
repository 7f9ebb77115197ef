"""What is left of a batch's budget, and where it went."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any


class Clock:
    """What is left of a batch's budget, and how long each stage and each call took."""

    def __init__(self, budget_s: float, since: float | None = None) -> None:
        """`since`: by time.monotonic(), the moment that the budget counts from; None: now."""
        self.began = time.time()
        """Unix seconds."""
        self._start = self._last = time.perf_counter()
        self._budget_s = budget_s if since is None else budget_s - (time.monotonic() - since)
        self.laps: dict[str, float] = {}
        """Stage -> milliseconds."""
        self.calls: dict[str, tuple[float, float]] = {}
        """Part -> milliseconds after the beginning at which it was called and had answered; infinity: it has not."""

    def left(self) -> float:
        """Seconds."""
        return self._budget_s - (time.perf_counter() - self._start)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = (now - self._last) * 1000
        self._last = now

    def follow(self, part: str, call: asyncio.Future[Any]) -> None:
        """Note how long a call takes that is made at this moment."""
        called = (time.perf_counter() - self._start) * 1000
        self.calls[part] = (called, math.inf)

        def answered(_: asyncio.Future[Any]) -> None:
            self.calls[part] = (called, (time.perf_counter() - self._start) * 1000)

        call.add_done_callback(answered)
