"""Threads for work on which many items wait and no request: they take what the cores have to spare.

Linux has a policy and a niceness for each thread. One of policy `idle` gives its core up the moment another thread
wakes there; a niceness alone keeps that one waiting for a slice of some milliseconds, at each of the many wake-ups of a
request. Where the cores have nothing to spare for long, the work goes to threads that have a share of them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

_PATIENCE_S = 5.0
"""Seconds that work waits for spare cores. With two of them a thousand texts take over a second."""
_NICENESS = 5
"""Of the threads behind them. What else the machine has to do gets three times their share of the cores."""

P = ParamSpec("P")
R = TypeVar("R")


class BulkThreads:
    def __init__(self, count: int, patience_s: float = _PATIENCE_S) -> None:
        """`count`: of each kind. `patience_s`: seconds that work waits for cores that have nothing else to do."""
        self._patience_s = patience_s
        self._spare = ThreadPoolExecutor(count, "spare", _only_when_idle)
        self._pressing = ThreadPoolExecutor(count, "pressing", _give_way)

    async def run(self, waited_s: float, work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """What `work` returns or raises. `waited_s`: for how long work of this kind has been waiting.

        Work that is not done in time is begun again, so it has to give the same at each time.
        """
        loop = asyncio.get_running_loop()
        if waited_s < self._patience_s:
            spare = loop.run_in_executor(self._spare, lambda: work(*args, **named))
            try:
                await asyncio.wait([spare], timeout=self._patience_s - waited_s)
                if spare.done():
                    return spare.result()
            finally:
                spare.cancel()
        return await loop.run_in_executor(self._pressing, lambda: work(*args, **named))

    def stop(self) -> None:
        for pool in (self._spare, self._pressing):
            pool.shutdown(wait=False, cancel_futures=True)


def _only_when_idle() -> None:
    with suppress(OSError, AttributeError):  # another system than Linux
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _give_way() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
