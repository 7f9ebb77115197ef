"""A histogram of Ray's without what Serve and Ray do around each of its values.

They look for labels of the request, merge the labels and check them, each time anew: two thirds of what it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.serve import metrics


def recorder(histogram: metrics.Histogram, labels: dict[str, str]) -> Callable[[float], None]:
    """What takes the values of the histogram with these labels. Raises ValueError and TypeError for wrong labels."""
    inner: Any = histogram
    metric = inner._metric  # noqa: SLF001
    tags = inner._get_final_tags(labels)  # noqa: SLF001
    inner._validate_tags(tags)  # noqa: SLF001

    def record(value: float) -> None:
        metric.record(value, tags)

    return record
