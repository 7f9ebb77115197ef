"""The last quarter of an hour of the platform, in points: each sums up what all replicas measured in their last windows
(`state/replica_windows.py`).

Every composer keeps one, so that a page shows a course and not a moment when it is opened. It is read more often while
somebody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis

from recsys.state import replica_windows
from recsys.state.replica_windows import ReplicaWindow
from recsys.telemetry import METRICS

LOOK_S, REST_S = 2.0, 6.0
"""Seconds between two points while somebody looks, and while nobody does."""
_POINTS = 450
_SILENT_S = 10.0
"""Seconds without a new window after which a replica counts as gone."""
_FORGOTTEN_S = 120.0
"""Seconds after which its record is deleted."""

Point = Mapping[str, Any]
"""JSON, see `_point`."""


class Timeline:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._heard: dict[str, tuple[int, float]] = {}
        """Replica -> number of its last window, and when that was first seen, by the monotonic clock."""
        self._watching = 0
        self.points: deque[Point] = deque(maxlen=_POINTS)
        self.replicas: dict[str, ReplicaWindow] = {}
        """Those that are heard, with their last windows."""
        self.ticks = 0
        """Steps so far."""
        self._ticked = asyncio.Condition()

    def pause_s(self) -> float:
        """How long to rest between two steps."""
        return LOOK_S if self._watching else REST_S

    @property
    def watching(self) -> int:
        return self._watching

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While somebody looks."""
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    async def after(self, ticks: int) -> None:
        """Wait until there were more steps than that."""
        async with self._ticked:
            await self._ticked.wait_for(lambda: self.ticks > ticks)

    async def step(self) -> None:
        """Read what the replicas wrote, add a point, and wake who waits for one; these are woken without Redis, too."""
        try:
            windows = await replica_windows.read(self._redis)
            await self._note(windows)
            self.points.append(_point(self.replicas))
        finally:
            self.ticks += 1
            async with self._ticked:
                self._ticked.notify_all()

    async def _note(self, windows: Mapping[str, ReplicaWindow]) -> None:
        now = time.monotonic()
        for replica, window in windows.items():
            if self._heard.get(replica, (None, 0.0))[0] != window.number:
                self._heard[replica] = window.number, now
        for replica in self._heard.keys() - windows.keys():
            del self._heard[replica]
        age = {replica: now - at for replica, (_, at) in self._heard.items()}
        self.replicas = {replica: window for replica, window in windows.items() if age[replica] < _SILENT_S}
        if gone := [replica for replica, seconds in age.items() if seconds > _FORGOTTEN_S]:
            await replica_windows.remove(self._redis, *gone)


def _point(replicas: Mapping[str, ReplicaWindow]) -> Point:
    """`rates`: a second, by name and labels; `times`: milliseconds at two quantiles and how many measurements;
    `gauges`: the largest of the replicas; `busy`: of each deployment the mean; `memory`: bytes of all.
    """
    rates: defaultdict[str, float] = defaultdict(float)
    gauges: dict[str, float] = {}
    buckets: defaultdict[str, Counter[int]] = defaultdict(Counter)
    busy: defaultdict[str, list[float]] = defaultdict(list)
    memory = 0.0
    for window in replicas.values():
        for name, amount in window.counts.items():
            rates[_short(name)] += amount / window.window_s
        for name, bucket in window.buckets.items():
            buckets[name].update(bucket)
        for name, value in window.gauges.items():
            short = _short(name)
            if short == "memory_bytes":
                memory += value
            elif short == "busy_ratio":
                busy[window.deployment].append(value)
            elif short.startswith(("recall_ratio", "recall_lower")):
                gauges[short] = min(value, gauges.get(short, value))
            else:
                gauges[short] = max(value, gauges.get(short, value))
    return {
        "at": round(time.time(), 2),
        "rates": {name: round(value, 3) for name, value in rates.items()},
        "times": {_short(name): _times(name, bucket) for name, bucket in buckets.items()},
        "gauges": gauges,
        "busy": {name: round(sum(each) / len(each), 4) for name, each in busy.items()},
        "memory": memory,
    }


def _short(name: str) -> str:
    return name.removeprefix("recsys_")


def _times(name: str, bucket: Mapping[int, int]) -> dict[str, float]:
    edges = METRICS[name.partition("|")[0]].buckets
    return {
        "n": sum(bucket.values()),
        "p50": round(quantile(edges, bucket, 0.5) * 1000, 3),
        "p99": round(quantile(edges, bucket, 0.99) * 1000, 3),
    }


def quantile(edges: tuple[float, ...], bucket: Mapping[int, int], share: float) -> float:
    """A quantile of a histogram as Prometheus estimates it: evenly spread within the bucket. Nothing measured: 0."""
    total = sum(bucket.values())
    rank, below = share * total, 0
    for place, count in sorted(bucket.items()):
        if below + count >= rank and count:
            if place >= len(edges):
                return edges[-1]
            low = edges[place - 1] if place else 0.0
            return low + (edges[place] - low) * (rank - below) / count
        below += count
    return 0.0
