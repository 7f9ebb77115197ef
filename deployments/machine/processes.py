"""Finding and stopping the processes of one instance, and no other.

Every process that we start carries RECSYS_INSTANCE=<id> in its environment, and so do those that it starts.
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
    """The marked processes and all that descend from them, without the calling one. Never another user's."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid not in found and _is_marked(process, instance):
            found[process.pid] = process
            # Some of Ray's write their title over their environment (the dashboard's modules): known by descent.
            found.update((child.pid, child) for child in _descendants(process))
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _is_alive(process)]


def processes_named(instance: str, words: str) -> list[psutil.Process]:
    """Those of the instance that have `words` in their command line or their name."""
    found = []
    for process in instance_processes(instance):
        with suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()) or words in process.name():
                found.append(process)
    return found


def _is_marked(process: psutil.Process, instance: str) -> bool:
    try:
        return process.environ().get(MARKER) == instance
    except psutil.Error:  # gone meanwhile, or not ours to read: then it is not ours at all
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def stop_instance(instance: str, timeout_s: float = 30.0) -> int:
    """Ends every process of the instance and says how many there were.

    Each step is asked politely and has a third of `timeout_s` seconds before it is killed: the raylet with its
    workers while it can still sign off, the rest of Ray, and Valkey last, since the others write to it.
    RuntimeFailure if something outlives even that.
    """
    started = instance_processes(instance)
    for wanted in (_is_raylet, _is_not_valkey, _is_any):
        # What is known by descent only would be lost from sight with its parent, so it is kept in mind.
        alive = {process.pid: process for process in (*started, *instance_processes(instance)) if _is_alive(process)}
        _stop([process for process in alive.values() if wanted(process)], timeout_s / 3)
    left = instance_processes(instance)
    if left:
        names = ", ".join(f"{_name(process)} (pid {process.pid})" for process in left)
        raise RuntimeFailure(f"could not stop {names}: end them by hand, then run `recsys down` again")
    return len(started)


def _stop(processes: list[psutil.Process], timeout_s: float) -> None:
    _signal(processes, psutil.Process.terminate)
    _signal(_outlived(processes, timeout_s), psutil.Process.kill)
    _outlived(processes, _KILLED_WITHIN_S)


def _signal(processes: Iterable[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.Error):  # gone meanwhile
            send(process)


def _outlived(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those still alive after `timeout_s` seconds; returns early once there are none."""
    deadline = time.monotonic() + timeout_s
    # psutil.wait_procs waits until pid 1 has collected the dead, which in containers takes seconds, or for ever.
    while (alive := [process for process in processes if _is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        with suppress(psutil.TimeoutExpired):
            process.wait(0)  # collects a dead child of the calling process; waits for nothing
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
