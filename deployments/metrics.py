"""The replica's measurements to Prometheus, through Ray: each node's agent offers what its replicas have measured."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from ray.serve import metrics

from deployments.ray_internals.first_count import begin
from recsys.telemetry import METRICS, Role, zeros

_Sum = tuple[str, tuple[tuple[str, str], ...]]
"""A counter's name and its labels."""


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
        for name, labels in zeros(role):
            self.add(name, 0, **labels)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        # Ray takes 15 microseconds to be told of anything: sums are told once a second.
        with self._summing:  # measurements come from several threads
            self._sums[name, tuple(labels.items())] += amount

    def flush(self) -> None:
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

    def set(self, name: str, value: float, **labels: str) -> None:
        if name not in self._gauges:
            self._gauges[name] = metrics.Gauge(name, METRICS[name].help, _labels(name))
        self._gauges[name].set(value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        if name not in self._histograms:
            metric = METRICS[name]
            self._histograms[name] = metrics.Histogram(name, metric.help, list(metric.buckets), _labels(name))
        self._histograms[name].observe(value, labels)


def _labels(name: str) -> Any:
    """Ray takes any number of label names, and types them as a tuple of one."""
    return METRICS[name].labels
