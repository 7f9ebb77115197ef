"""Processes that hang: they hold their memory and their connections, and do nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

_STOP_S = 30.0
_LOOK_S = 0.002


@contextmanager
def halted(*processes: psutil.Process) -> Iterator[None]:
    """All threads of the processes are stopped within, and go on after it.

    A process is still at work when the call that stops it returns: each thread stops when it next enters or leaves
    the kernel, and may answer a request before that.

    Raises:
        TimeoutError: A thread does not stop within 30 s.

    """
    try:
        for process in processes:
            process.suspend()
        for process in processes:
            _wait_until_stopped(process)
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _wait_until_stopped(process: psutil.Process) -> None:
    deadline = time.monotonic() + _STOP_S
    while not all(_is_stopped(thread.id) for thread in process.threads()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {process.pid} does not stop")
        time.sleep(_LOOK_S)


def _is_stopped(thread: int) -> bool:
    try:
        return psutil.Process(thread).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:  # it ended before it stopped
        return True
