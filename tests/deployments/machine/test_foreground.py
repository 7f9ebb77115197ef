"""Staying while a platform runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.machine.foreground import end_as_by_ctrl_c, until_ended
from deployments.machine.processes import MARKER


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name, which belongs to an instance."""
    program = tmp_path / "raylet"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([str(program), "60"], env={MARKER: str(tmp_path)}) as process:
        yield process
        process.kill()


@pytest.fixture
def between_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen while the processes are watched: once they were looked at, in the pause before the next
    look.
    """
    pause = time.sleep

    def once(deed: Callable[[], object]) -> None:
        deeds = [deed]

        def sleep(seconds: float) -> None:
            if deeds:
                deeds.pop()()
            pause(seconds)

        monkeypatch.setattr(time, "sleep", sleep)

    return once


def test_the_end_of_a_vital_process_is_told(raylet, between_looks, tmp_path) -> None:
    between_looks(raylet.kill)
    assert until_ended(str(tmp_path)) == "raylet"


def test_who_is_told_to_end_is_no_failure(raylet, between_looks, tmp_path) -> None:
    """SIGTERM, which containers are ended with."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        end_as_by_ctrl_c()
        between_looks(lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert until_ended(str(tmp_path)) is None
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raylet.poll() is None
