"""What every replica says of itself once a second."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from recsys.serving.load import LoadMeter
from recsys.telemetry import Telemetry
from recsys.transport.coalescing import Flight

BEAT_S = 1.0


class Pulse:
    def __init__(self, meter: LoadMeter, telemetry: Telemetry) -> None:
        self.meter = meter
        self._telemetry = telemetry
        self._process = psutil.Process()
        self._versions: set[str] = set()

    def beat(self, versions: Iterable[str]) -> None:
        """Read the load and say it. `versions`: what the replica serves or holds now."""
        load, told = self.meter.read(), self._telemetry
        told.set("recsys_busy_ratio", load.busy)
        told.set("recsys_queue_age_seconds", load.queue_age_s)
        told.set("recsys_batch_fill_ratio", load.batch_fill)
        told.set("recsys_memory_bytes", self._process.memory_info().rss)
        known = set(versions)
        for version in known | self._versions:
            told.set("recsys_version_info", float(version in known), version=version)
        self._versions |= known
        told.flush()

    def landed(self, queue: str, flight: Flight, largest: int, *, works: bool) -> None:
        """A coalescer's batch. `works`: its time is work done here, and not by those it waited for."""
        self.meter.batch(flight.took_s if works else 0.0, flight.requests / largest)
        told = self._telemetry
        told.observe("recsys_batch_requests", flight.requests, queue=queue)
        told.observe("recsys_batch_seconds", flight.took_s, queue=queue)
        told.observe("recsys_answer_seconds", flight.waited_s + flight.took_s, queue=queue)
