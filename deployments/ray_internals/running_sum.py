"""A sum that grows, offered by the name that it is given.

Ray's counters end in `_total`, which the parts of a histogram must not. And Ray's own histograms are told each value
alone; every ten seconds the node's agent tells each of them once more, one after the other and in Python. At 850
requests a second that took a core for 0.4 seconds each time (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.serve.metrics import _add_serve_metric_default_tags, _add_serve_metric_tags
from ray.util.metrics import CythonSum  # type: ignore[attr-defined]  # not in Ray's list of names


class RunningSum:
    """In a replica: Serve's labels are added. `labels`: names of its own."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        own: Any = labels  # Serve takes any number, and types them as one
        self._metric = CythonSum(name, text, _add_serve_metric_tags(own))

    def series(self, labels: Mapping[str, str]) -> Callable[[float], None]:
        """What adds to the sum with these labels, all of them. 0.0 offers it from then on."""
        metric, tags = self._metric, _add_serve_metric_default_tags(dict(labels))

        def add(amount: float) -> None:
            metric.record(amount, tags)

        return add
