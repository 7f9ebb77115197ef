"""Staying while a platform runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.machine.foreground import end_as_by_ctrl_c, until_ended
from deployments.machine.processes import MARKER


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name, which belongs to an instance."""
    program = tmp_path / "raylet"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([str(program), "60"], env={MARKER: "foreground"}) as process:
        yield process
        process.kill()


def test_the_end_of_a_vital_process_is_told(raylet: subprocess.Popen[bytes]) -> None:
    threading.Timer(0.3, raylet.kill).start()
    assert until_ended("foreground") == "raylet"


def test_who_is_told_to_end_is_no_failure(raylet: subprocess.Popen[bytes]) -> None:
    """SIGTERM, which containers are ended with."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        end_as_by_ctrl_c()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert until_ended("foreground") is None
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raylet.poll() is None
