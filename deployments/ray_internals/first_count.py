"""A counter of Ray's at 0, so that Prometheus sees it before its first event.

`Counter.inc` refuses 0, and a counter that was never told anything is not offered at all: a rate over it sees nothing
of its first event.
"""

from __future__ import annotations

from typing import Any

from ray.serve import metrics


def begin(counter: metrics.Counter, labels: dict[str, str]) -> None:
    """Offer the counter with these labels from now on; it counts nothing yet."""
    record: Any = counter._record  # noqa: SLF001 - what `inc` calls behind its check
    record(0.0, labels)
