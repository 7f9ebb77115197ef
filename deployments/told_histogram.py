"""Values counted by bucket where they are observed, and told once a second as sums: as many whatever came."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from deployments.ray_internals.running_sum import RunningSum
from recsys.telemetry import Metric


class Buckets:
    """Values since the last taking. `edges`: upper ones, ascending; a value that is one belongs below it."""

    __slots__ = ("_counts", "_edges", "_total")

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._edges, value)] += 1
        self._total += value

    def take(self) -> tuple[list[int], float]:
        """How many values were at most each edge, and behind them how many there were; and their sum."""
        taken = list(accumulate(self._counts)), self._total
        self._counts, self._total = [0] * len(self._counts), 0.0
        return taken


class ToldHistogram:
    """A histogram's three parts, as Prometheus names them: `_bucket` with the edge as label `le`, `_sum`, `_count`."""

    def __init__(self, name: str, metric: Metric) -> None:
        self._edges = [*(str(edge) for edge in metric.buckets), "+Inf"]
        self._bucket = RunningSum(f"{name}_bucket", metric.help, (*metric.labels, "le"))
        self._sum = RunningSum(f"{name}_sum", metric.help, metric.labels)
        self._count = RunningSum(f"{name}_count", metric.help, metric.labels)

    def series(self, labels: Mapping[str, str]) -> Callable[[Sequence[int], float], None]:
        """What tells a taking of `Buckets` with these labels. All buckets are offered from now on."""
        buckets = [self._bucket.series({**labels, "le": edge}) for edge in self._edges]
        sums, counts = self._sum.series(labels), self._count.series(labels)
        for part in (*buckets, sums, counts):
            part(0.0)

        def tell(within: Sequence[int], total: float) -> None:
            for add, number in zip(buckets, within, strict=True):
                if number:
                    add(number)
            sums(total)
            counts(within[-1])

        return tell
