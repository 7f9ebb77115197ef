"""The replica's measurements to Prometheus, through Ray: each node's agent offers what its replicas have measured."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ray.serve import metrics

from deployments.ray_internals.first_count import begin
from deployments.told_histogram import Buckets, ToldHistogram
from recsys.telemetry import METRICS, Role, zeros

_Sum = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its labels."""


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
        self._histograms: dict[str, ToldHistogram] = {}
        self._observed: dict[_Sum, Buckets] = {}
        self._tell: dict[_Sum, Callable[[Sequence[int], float], None]] = {}
        for name, labels in zeros(role):
            self.add(name, 0, **labels)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        # Ray takes 15 microseconds to be told of anything: sums are told once a second.
        with self._summing:  # measurements come from several threads
            self._sums[name, tuple(labels.items())] += amount

    def flush(self) -> None:
        """Tell Ray what was added and observed. To be called once a second."""
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
        for key, observed in list(self._observed.items()):
            with self._summing:
                within, total = observed.take()
            if within[-1]:
                self._told(key)(within, total)

    def set(self, name: str, value: float, **labels: str) -> None:
        if name not in self._gauges:
            self._gauges[name] = metrics.Gauge(name, METRICS[name].help, _labels(name))
        self._gauges[name].set(value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        key = name, tuple(labels.items())
        with self._summing:
            buckets = self._observed.get(key)
            if buckets is None:
                buckets = self._observed[key] = Buckets(METRICS[name].buckets)
            buckets.add(value)

    def _told(self, key: _Sum) -> Callable[[Sequence[int], float], None]:
        if key not in self._tell:
            name, labels = key
            if name not in self._histograms:
                self._histograms[name] = ToldHistogram(name, METRICS[name])
            self._tell[key] = self._histograms[name].series(dict(labels))
        return self._tell[key]


def _labels(name: str) -> Any:
    """Ray takes any number of label names, and types them as a tuple of one."""
    return METRICS[name].labels
