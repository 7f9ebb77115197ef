"""Measurements of replicas, once a second, and of batches, once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence

import psutil

from recsys.answers import Slate
from recsys.errors import RecsysError
from recsys.serving.event_writes import Recorded
from recsys.serving.load import LoadMeter
from recsys.telemetry import Changing, Telemetry
from recsys.transport.coalescing import Flight

BEAT_S = 1.0
"""Seconds between two beats."""


class Pulse:
    """The measurements that every kind of replica has."""

    def __init__(self, meter: LoadMeter, telemetry: Telemetry) -> None:
        self.meter = meter
        self._telemetry = telemetry
        self._process = psutil.Process()
        self._versions = Changing(telemetry, "recsys_version_info")

    def beat(self, versions: Iterable[str]) -> None:
        """Publish load, memory and versions. `versions`: those that the replica serves or holds now."""
        load, telemetry = self.meter.read(), self._telemetry
        telemetry.set("recsys_busy_ratio", load.busy)
        telemetry.set("recsys_queue_age_seconds", load.queue_age_s)
        telemetry.set("recsys_batch_fill_ratio", load.batch_fill)
        telemetry.set("recsys_memory_bytes", self._process.memory_info().rss)
        self._versions.tell({(version,): 1.0 for version in versions})
        telemetry.flush()

    def landed(self, queue: str, flight: Flight, largest: int, *, works: bool) -> None:
        """Count a coalescer's batch. `works`: its time was work of this replica, and not waiting for another."""
        self.meter.batch(flight.took_s if works else 0.0, flight.requests / largest)
        telemetry = self._telemetry
        telemetry.observe("recsys_batch_requests", flight.requests, queue=queue)
        telemetry.observe("recsys_batch_seconds", flight.took_s, queue=queue)
        telemetry.observe("recsys_answer_seconds", flight.waited_s + flight.took_s, queue=queue)


class Recording:
    """Counts the outcome of batches."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def slates(self, results: Sequence[Slate | Exception]) -> None:
        telemetry = self._telemetry
        answered = [result for result in results if isinstance(result, Slate)]
        telemetry.add("recsys_slates_total", len(answered))
        if answered:
            for stage, took_ms in answered[0].stages.items():  # one clock for the whole batch
                telemetry.observe("recsys_stage_seconds", took_ms / 1000, stage=stage)
        if any(slate.degraded for slate in answered):
            for part, slates in Counter(part for slate in answered for part in slate.degraded).items():
                telemetry.add("recsys_degraded_slates_total", slates, part=part)
        if len(answered) < len(results):
            for code, refused in Counter(_code(r) for r in results if not isinstance(r, Slate)).items():
                telemetry.add("recsys_refused_total", refused, code=code)

    async def events(self, batch: Awaitable[list[Recorded | Exception]]) -> list[Recorded | Exception]:
        results = await batch
        recorded = [result for result in results if isinstance(result, Recorded)]
        self._telemetry.add("recsys_events_total", sum(r.accepted for r in recorded), result="accepted")
        self._telemetry.add("recsys_events_total", sum(r.duplicates for r in recorded), result="duplicate")
        self._telemetry.add("recsys_events_total", sum(r.too_old for r in recorded), result="too_old")
        return results


def _code(error: Exception) -> str:
    return error.code if isinstance(error, RecsysError) else "internal"
