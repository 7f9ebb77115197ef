"""The replica's measurements to Prometheus, through Ray: each node's agent offers what its replicas have measured."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from ray.serve import metrics

from deployments.ray_internals.direct_record import recorder
from deployments.ray_internals.first_count import begin
from recsys.telemetry import METRICS, Role, zeros

_Sum = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its labels."""

_KEPT = 50_000
"""Observations that wait at the most: those of ten seconds of a composer with one caller after another."""
_TOLD = 16
"""Observations that are told in one go: about 0.1 ms of the event loop."""
_STEPS = 200
"""Most goes for what waits, so that they end before the next second."""
_REST_S = 0.002
"""Seconds between two goes."""


class RayTelemetry:
    """`recsys.telemetry.Telemetry` in a replica. Ray adds the labels deployment, replica and application, and puts
    `ray_` before every name. `role`: whose counters begin at 0 now.
    """

    def __init__(self, role: Role) -> None:
        self._summing = threading.Lock()
        self._sums: defaultdict[_Sum, float] = defaultdict(float)
        self._begun: set[_Sum] = set()
        self._counters: dict[str, metrics.Counter] = {}
        self._gauges: dict[str, metrics.Gauge] = {}
        self._histograms: dict[str, metrics.Histogram] = {}
        self._recorders: dict[_Sum, Callable[[float], None]] = {}
        """What takes the values of a histogram with some labels."""
        self._observed: deque[tuple[str, float, dict[str, str]]] = deque(maxlen=_KEPT)
        self._telling = False
        for name, labels in zeros(role):
            self.add(name, 0, **labels)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        # Ray takes 15 microseconds to be told of anything: sums are told once a second.
        with self._summing:  # measurements come from several threads
            self._sums[name, tuple(labels.items())] += amount

    def flush(self) -> None:
        """Tell Ray what was added and observed. To be called once a second, in the event loop."""
        with self._summing:
            sums, self._sums = self._sums, defaultdict(float)
        for key, amount in sums.items():
            name, labels = key
            if not amount and key in self._begun:
                continue
            if name not in self._counters:  # made when first used: a shard has no use for a composer's
                self._counters[name] = metrics.Counter(name, METRICS[name].help, _labels(name))
            if amount:
                self._counters[name].inc(amount, dict(labels))
            else:
                begin(self._counters[name], dict(labels))
            self._begun.add(key)
        if not self._telling:
            self._tell_observed()

    def set(self, name: str, value: float, **labels: str) -> None:
        if name not in self._gauges:
            self._gauges[name] = metrics.Gauge(name, METRICS[name].help, _labels(name))
        self._gauges[name].set(value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        # For the same reason a batch is answered first, and its measurements are told when there is time.
        self._observed.append((name, value, labels))

    def _tell_observed(self) -> None:
        """Tell Ray some of what was observed, and the rest a moment later: so no request waits for all of it."""
        some = max(_TOLD, len(self._observed) // _STEPS)
        for _ in range(min(some, len(self._observed))):
            name, value, labels = self._observed.popleft()
            key = (name, tuple(labels.items()))
            if key not in self._recorders:
                self._recorders[key] = recorder(self._histogram(name), labels)
            self._recorders[key](value)
        self._telling = bool(self._observed)
        if self._telling:
            asyncio.get_running_loop().call_later(_REST_S, self._tell_observed)

    def _histogram(self, name: str) -> metrics.Histogram:
        if name not in self._histograms:
            metric = METRICS[name]
            self._histograms[name] = metrics.Histogram(name, metric.help, list(metric.buckets), _labels(name))
        return self._histograms[name]


def _labels(name: str) -> Any:
    """Ray takes any number of label names, and types them as a tuple of one."""
    return METRICS[name].labels
