from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

from deployments.machine.processes import MARKER, instance_processes, stop_instance

SLEEP = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)",
]
# The child's environment is empty, as after a program wrote its title over it.
PARENT = ["sh", "-c", f"env -i {SLEEP[0]} -c '{SLEEP[2]}' & wait"]
Start = Callable[[list[str], str | None], subprocess.Popen[bytes]]


@pytest.fixture
def instance() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program under an instance's mark, or under none, and returns once it runs."""
    started: list[subprocess.Popen[bytes]] = []

    def run(command: list[str], instance: str | None) -> subprocess.Popen[bytes]:
        env = {**os.environ, **({} if instance is None else {MARKER: instance})}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_only_the_marked_are_found(instance: str, start: Start) -> None:
    ours = start(SLEEP, instance)
    start(SLEEP, None)
    start(SLEEP, f"{instance}0")
    assert [process.pid for process in instance_processes(instance)] == [ours.pid]


def test_only_the_marked_are_stopped(instance: str, start: Start) -> None:
    start(SLEEP, instance)
    strangers = [start(SLEEP, None), start(SLEEP, f"{instance}0")]
    assert stop_instance(instance) == 1
    assert instance_processes(instance) == []
    assert all(psutil.Process(stranger.pid).status() != psutil.STATUS_ZOMBIE for stranger in strangers)


def test_a_child_that_lost_the_mark_goes_with_its_parent(instance: str, start: Start) -> None:
    start(PARENT, instance)
    found = instance_processes(instance)
    assert len(found) == 2
    assert stop_instance(instance) == 2
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found)


def test_what_does_not_listen_is_killed(instance: str, start: Start) -> None:
    start(DEAF, instance)
    assert stop_instance(instance, timeout_s=0.3) == 1
    assert instance_processes(instance) == []


def test_nothing_to_stop(instance: str) -> None:
    assert stop_instance(instance) == 0


def test_the_calling_process_is_never_its_own_victim(instance: str) -> None:
    # The mark is read from the environment that a process was started with, so the caller has to be a fresh one.
    script = f"from deployments.machine.processes import stop_instance; print(stop_instance({instance!r}))"
    stopped = subprocess.check_output([sys.executable, "-c", script], env={**os.environ, MARKER: instance})
    assert stopped.strip() == b"0"
