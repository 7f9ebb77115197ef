"""Serve's HAProxy manager sees soon that a HAProxy has taken over, and tells in Serve's words of one that has not."""

from __future__ import annotations

import subprocess
import sys

MANAGER = """
import asyncio, sys
from ray.serve._private import haproxy
from deployments.ray_internals.haproxy_looks import look_often

slept = []
rest = asyncio.sleep

async def sleep(seconds):
    slept.append(seconds)
    await rest(0)

look_often()
asyncio.sleep = sleep

class Started(haproxy.HAProxyApi):
    def __init__(self, process, looks):
        self.process, self.looks = process, looks

    async def _get_running_pid(self):
        self.looks -= 1
        return self.process.pid if self.looks < 0 else None

async def main():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import sys; sys.stdin.read()", stdin=-1)
    await Started(process, 3)._wait_for_hap_availability(process)
    print(slept)
    process.stdin.close()
    await process.wait()
    process._stderr_path = process._stdout_path = "/dev/null"
    try:
        await Started(process, 3)._wait_for_hap_availability(process)
    except RuntimeError as error:
        print(error)

asyncio.run(main())
"""


def test_a_haproxy_that_takes_over_is_seen_at_the_next_look_and_one_that_ended_is_told() -> None:
    """Three looks find the one before it, so there are three rests."""
    done = subprocess.run([sys.executable, "-c", MANAGER], capture_output=True, text=True, check=False, timeout=120)
    told = ["[0.02, 0.02, 0.02]", "HAProxy crashed during startup: exit code 0"]
    assert done.stdout.splitlines() == told, done.stderr
