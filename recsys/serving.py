"""What a batch is answered from, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from recsys.config import SignalName
from recsys.ranker import Ranker
from recsys.space import Space


@dataclass(frozen=True, slots=True)
class Serve:
    """The version that a batch is answered from; it never changes on the way."""

    version: str
    model: str
    space: Space
    fingerprint: str
    """Of the version's encoder."""
    weights: Mapping[SignalName, float] | None = None
    """The blend that the version learned; None: it learned nothing."""
    ranker: Ranker | None = None
    """None: the blend decides."""


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
