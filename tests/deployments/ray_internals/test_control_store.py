"""The start of Ray's control store with another Redis; a process with its options stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from deployments.ray_internals.control_store import StartOfControlStore
from tests.support.live import eventually

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")
OPTIONS = ("--gcs_server_port=6385", "--redis_address=10.0.0.1", "--redis_port=6379", "--redis_enable_ssl=false")


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    started = subprocess.Popen([*SLEEPS, *OPTIONS], env={**os.environ, "MARK": "7"})
    yield psutil.Process(started.pid)
    started.kill()
    started.wait()


@pytest.mark.parametrize(
    ("redis", "options"),
    [
        ("10.0.0.2:6380", ("--redis_address=10.0.0.2", "--redis_port=6380", "--redis_enable_ssl=false")),
        ("rediss://redis.example:7", ("--redis_address=redis.example", "--redis_port=7", "--redis_enable_ssl=true")),
        ("[fd00::2]:6379", ("--redis_address=fd00::2", "--redis_port=6379", "--redis_enable_ssl=false")),
    ],
)
def test_it_starts_with_the_redis_of_now_and_all_else_as_before(
    process: psutil.Process, redis: str, options: tuple[str, ...]
) -> None:
    start = StartOfControlStore.of(process)
    again = start.again(redis)
    try:
        assert eventually(lambda: again.cmdline() and again.environ())  # its program is loaded
        assert again.cmdline() == [*SLEEPS, OPTIONS[0], *options]
        assert again.environ()["MARK"] == "7"
        assert again.cwd() == process.cwd()
    finally:
        again.kill()
        again.wait()


class Loading(psutil.Process):
    """As the kernel shows a process whose program is being loaded: first neither, then the command line alone."""

    looks = 0

    def cmdline(self) -> list[str]:
        self.looks += 1
        return [] if self.looks < 3 else super().cmdline()

    def environ(self) -> dict[str, str]:
        return {} if self.looks < 5 else super().environ()


def test_the_start_of_a_process_that_is_being_loaded_is_read_when_it_is(process: psutil.Process) -> None:
    assert StartOfControlStore.of(Loading(process.pid)) == StartOfControlStore.of(process)


def test_the_start_of_a_process_that_has_ended_is_an_error(process: psutil.Process) -> None:
    process.kill()
    assert eventually(lambda: process.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(psutil.Error):
        StartOfControlStore.of(process)
