"""Finding and stopping the processes of one instance, and no others.

Every process of a platform has RECSYS_INSTANCE=<id> in its environment, and so do its descendants.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from recsys.errors import RuntimeFailure

MARKER = "RECSYS_INSTANCE"
_KILLED_WITHIN_S = 5.0
_POLL_S = 0.02


def instance_processes(instance: str) -> list[psutil.Process]:
    """Return the marked processes of this user and their descendants, without the calling process."""
    processes: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid not in processes and _is_marked(process, instance):
            processes[process.pid] = process
            # Some of Ray's processes (the dashboard's modules) overwrite their environment with their title.
            processes.update((child.pid, child) for child in _descendants(process))
    processes.pop(os.getpid(), None)
    return [process for process in processes.values() if _is_alive(process)]


def processes_named(instance: str, words: str) -> list[psutil.Process]:
    """Return the processes of the instance with `words` in their command line or name."""
    matching = []
    for process in instance_processes(instance):
        with suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()) or words in process.name():
                matching.append(process)
    return matching


def _is_marked(process: psutil.Process, instance: str) -> bool:
    try:
        return process.environ().get(MARKER) == instance
    except psutil.Error:  # it has ended, or belongs to another user
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def stop_instance(instance: str, timeout_s: float = 30.0) -> int:
    """End every process of the instance, and return their number.

    There are three steps: the raylet with its workers, so that it can still deregister; the rest of Ray; and Valkey,
    since the others write to it. A step is terminated, and killed after a third of `timeout_s` seconds. Raises
    RuntimeFailure when a process remains.
    """
    started = instance_processes(instance)
    for in_step in (_is_raylet, _is_not_valkey, _is_any):
        # Keep the processes seen so far: without its parent a process that has no mark is not found again.
        alive = {process.pid: process for process in (*started, *instance_processes(instance)) if _is_alive(process)}
        _stop([process for process in alive.values() if in_step(process)], timeout_s / 3)
    remaining = instance_processes(instance)
    if remaining:
        names = ", ".join(f"{_name(process)} (pid {process.pid})" for process in remaining)
        raise RuntimeFailure(f"could not stop {names}: end them by hand, then run `recsys down` again")
    return len(started)


def _stop(processes: list[psutil.Process], timeout_s: float) -> None:
    _signal(processes, psutil.Process.terminate)
    _signal(_outlived(processes, timeout_s), psutil.Process.kill)
    _outlived(processes, _KILLED_WITHIN_S)


def _signal(processes: Iterable[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.Error):  # it has ended
            send(process)


def _outlived(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Return the processes alive after `timeout_s` seconds. Return at once when there are none."""
    deadline = time.monotonic() + timeout_s
    # psutil.wait_procs waits until pid 1 reaps the dead, which in containers takes seconds or never happens.
    while (alive := [process for process in processes if _is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        with suppress(psutil.TimeoutExpired):
            process.wait(0)  # reaps a dead child of the calling process without waiting
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _is_raylet(process: psutil.Process) -> bool:
    return _name(process) == "raylet"


def _is_not_valkey(process: psutil.Process) -> bool:
    return not _name(process).startswith("valkey")


def _is_any(_process: psutil.Process) -> bool:
    return True
