"""How busy a replica is, measured where the work is done."""

from __future__ import annotations

import time
from collections.abc import Callable

from recsys.serving.scaling import Load


class LoadMeter:
    """Counts work between two readings. `waiting` returns the age of the oldest waiting request in seconds."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self._waiting = waiting
        self._read_at, self._cpu = time.monotonic(), time.process_time()
        self._worked_s = self._filled = 0.0
        self._batches = 0
        self.load = Load(0.0, 0.0, 0.0)
        """As it was read last."""

    def batch(self, worked_s: float, fill: float) -> None:
        """Count a batch.

        `worked_s`: seconds of work by a thread that takes one batch at a time; 0 where there is no such thread. `fill`:
        its size over the largest allowed. May be called from any thread: a lost update does no harm.
        """
        self._worked_s += worked_s
        self._filled += fill
        self._batches += 1

    def begin(self) -> None:
        """Start counting. What starting up took says nothing of the load, and would call for yet another replica."""
        self.read()
        self.load = Load(0.0, 0.0, 0.0)

    def read(self) -> Load:
        """The load since the last reading.

        Busy is the larger of two shares: CPU time of the process, and time with a batch at work. The first sees an
        event loop that is full; the second sees a replica that other processes keep from its core.
        """
        now, cpu = time.monotonic(), time.process_time()
        passed = max(now - self._read_at, 1e-3)
        busy = max(cpu - self._cpu, self._worked_s) / passed
        fill = self._filled / self._batches if self._batches else 0.0
        self.load = Load(min(busy, 1.0), self._waiting(), min(fill, 1.0))
        self._read_at, self._cpu, self._worked_s = now, cpu, 0.0
        self._filled, self._batches = 0.0, 0
        return self.load
