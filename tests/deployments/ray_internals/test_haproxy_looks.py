"""Serve's HAProxy manager sees soon that a HAProxy has taken over, and tells in Serve's words of one that has not."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from deployments.ray_internals.haproxy_looks import look_often


async def test_a_haproxy_that_takes_over_is_seen_at_the_next_look_and_one_that_ended_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three looks find the one before it, so there are three rests."""
    from ray.serve._private import haproxy  # noqa: PLC0415 - few tests need it

    api: Any = haproxy.HAProxyApi
    monkeypatch.setattr(api, "_wait_for_hap_availability", api._wait_for_hap_availability)  # as it was, after the test
    look_often()
    rest, slept = asyncio.sleep, []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await rest(0)

    class Started(api):  # type: ignore[misc]
        def __init__(self, process: asyncio.subprocess.Process, looks: int) -> None:
            self.process, self.looks = process, looks

        async def _get_running_pid(self) -> int | None:
            self.looks -= 1
            return self.process.pid if self.looks < 0 else None

    waits = (sys.executable, "-c", "import sys; sys.stdin.read()")
    process: Any = await asyncio.create_subprocess_exec(*waits, stdin=asyncio.subprocess.PIPE)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", sleep)
        await Started(process, 3)._wait_for_hap_availability(process)
    assert slept == [0.02, 0.02, 0.02]
    process.stdin.close()
    await process.wait()
    vars(process).update(_stderr_path="/dev/null", _stdout_path="/dev/null")
    with pytest.raises(RuntimeError, match="HAProxy crashed during startup: exit code 0"):
        await Started(process, 3)._wait_for_hap_availability(process)
