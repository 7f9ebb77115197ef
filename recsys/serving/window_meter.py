"""Measurements on their way to Prometheus, of which the last window is kept for the console.

A measurement costs one append here. What it adds up to is worked out once a window, behind the requests.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.state import replica_windows
from recsys.state.replica_windows import ReplicaWindow
from recsys.telemetry import METRICS, Telemetry

WINDOW_S = 2.0
"""Seconds between two writes."""
_KEPT = 20_000
"""Measurements of a window at the most: 10,000 batches a second are more than a replica has."""

SHOWN = frozenset(
    {
        "recsys_answer_seconds",
        "recsys_background_errors_total",
        "recsys_busy_ratio",
        "recsys_degraded_slates_total",
        "recsys_events_total",
        "recsys_freshness_seconds",
        "recsys_log_entries",
        "recsys_log_lag_seconds",
        "recsys_memory_bytes",
        "recsys_profiles_total",
        "recsys_queue_age_seconds",
        "recsys_recall_lower_ratio",
        "recsys_recall_ratio",
        "recsys_refused_total",
        "recsys_search_effort",
        "recsys_slates_total",
        "recsys_stage_seconds",
        "recsys_texts_total",
    }
)
"""Metrics that are kept."""


class WindowMeter:
    """`recsys.telemetry.Telemetry` that passes all on to another one."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._measured: deque[tuple[str, float, dict[str, str]]] = deque(maxlen=_KEPT)
        self._gauges: dict[str, float] = {}

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        self._telemetry.add(name, amount, **labels)
        if name in SHOWN and amount:
            self._measured.append((name, amount, labels))

    def set(self, name: str, value: float, **labels: str) -> None:
        self._telemetry.set(name, value, **labels)
        if name in SHOWN:
            self._gauges[_named(name, labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._telemetry.observe(name, value, **labels)
        if name in SHOWN:
            self._measured.append((name, value, labels))

    def flush(self) -> None:
        self._telemetry.flush()

    def window(self, deployment: str, number: int, window_s: float) -> ReplicaWindow:
        """What was measured since the last call. Other threads may go on measuring meanwhile."""
        measured, self._measured = self._measured, deque(maxlen=_KEPT)
        counts: defaultdict[str, float] = defaultdict(float)
        buckets: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for name, value, labels in list(measured):
            metric = METRICS[name]
            if metric.kind == "counter":
                counts[_named(name, labels)] += value
            else:
                buckets[_named(name, labels)][bisect_left(metric.buckets, value)] += 1
        plain = {name: dict(bucket) for name, bucket in buckets.items()}
        return ReplicaWindow(deployment, number, window_s, dict(self._gauges), dict(counts), plain)


class WindowWriter:
    """Writes a replica's windows, one a step."""

    def __init__(self, redis: Redis, deployment: str, replica: str, meter: WindowMeter) -> None:
        self._redis = redis
        self._deployment = deployment
        self._replica = replica
        self._meter = meter
        self._number = 0
        self._began = time.monotonic()

    async def step(self) -> None:
        """Raises RedisError or OSError; the window is lost then."""
        now = time.monotonic()
        self._number += 1
        window = self._meter.window(self._deployment, self._number, max(now - self._began, 1e-3))
        self._began = now
        await replica_windows.write(self._redis, self._replica, window)

    async def leave(self) -> None:
        """Where Redis is away the record stays, and readers see that it is old."""
        with contextlib.suppress(RedisError, OSError):
            await replica_windows.remove(self._redis, self._replica)


def _named(name: str, labels: dict[str, str]) -> str:
    return "|".join((name, *labels.values()))
