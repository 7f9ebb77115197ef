"""What a batch is answered from, and how long it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Serve:
    """The version that a batch is answered from; it never changes on the way."""

    version: str
    model: str
    dimension: int
    fingerprint: str
    """Of the version's encoder."""


class Clock:
    """What is left of a batch's budget, and how long each stage took."""

    def __init__(self, budget_s: float) -> None:
        self._start = self._last = time.perf_counter()
        self._budget_s = budget_s
        self.laps: dict[str, float] = {}
        """Stage -> milliseconds."""

    def left(self) -> float:
        """Seconds."""
        return self._budget_s - (time.perf_counter() - self._start)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = (now - self._last) * 1000
        self._last = now
