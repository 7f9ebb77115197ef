"""What a load test saw, second by second: Locust's own history has the percentiles of the whole test so far."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np


class Timeline:
    def __init__(self) -> None:
        self._answered: defaultdict[int, list[float]] = defaultdict(list)
        self._failed: defaultdict[int, int] = defaultdict(int)

    def add(self, sent_at: float, response_ms: float, *, failed: bool) -> None:
        """A request, by the Unix second in which it was sent."""
        self._answered[int(sent_at)].append(response_ms)
        self._failed[int(sent_at)] += failed

    def rows(self) -> list[dict[str, Any]]:
        """For each second in which anything was sent: requests, failures, 50th and 99th percentile in milliseconds."""
        return [
            {
                "at": second,
                "requests": len(times),
                "failed": self._failed[second],
                "p50_ms": round(float(np.percentile(times, 50)), 1),
                "p99_ms": round(float(np.percentile(times, 99)), 1),
            }
            for second, times in sorted(self._answered.items())
        ]
