"""Finding and stopping the processes of one instance, and no other.

Every process that we start carries RECSYS_INSTANCE=<id> in its environment, and so do those that it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import psutil

from recsys.errors import RuntimeFailure

MARKER = "RECSYS_INSTANCE"
_KILLED_WITHIN_S = 5.0


def instance_processes(instance: str) -> list[psutil.Process]:
    """The marked processes and all that descend from them, without the calling one. Never another user's."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid not in found and _is_marked(process, instance):
            found[process.pid] = process
            # Some of Ray's write their title over their environment (the dashboard's modules): known by descent.
            found.update((child.pid, child) for child in _descendants(process))
    found.pop(os.getpid(), None)
    return list(found.values())


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
        alive = {process.pid: process for process in (*started, *instance_processes(instance)) if process.is_running()}
        _stop([process for process in alive.values() if wanted(process)], timeout_s / 3)
    left = instance_processes(instance)
    if left:
        names = ", ".join(f"{_name(process)} (pid {process.pid})" for process in left)
        raise RuntimeFailure(f"could not stop {names}: end them by hand, then run `recsys down` again")
    return len(started)


def _stop(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    alive = _wait(processes, psutil.Process.terminate, timeout_s)
    _wait(alive, psutil.Process.kill, _KILLED_WITHIN_S)


def _wait(
    processes: Iterable[psutil.Process], signal: Callable[[psutil.Process], None], timeout_s: float
) -> list[psutil.Process]:
    signalled = []
    for process in processes:
        try:
            signal(process)
        except psutil.Error:
            continue
        signalled.append(process)
    _, alive = psutil.wait_procs(signalled, timeout_s)
    return alive


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
