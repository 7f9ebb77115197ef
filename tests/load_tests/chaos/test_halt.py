"""A process that hangs, hangs wholly."""

from __future__ import annotations

import subprocess
import sys

import psutil

from load_tests.chaos.halt import halted

BUSY = """
import hashlib, threading
def work():
    while True:
        hashlib.sha256(bytes(1 << 16))
for _ in range(8):
    threading.Thread(target=work).start()
print(flush=True)
"""


def statuses(process: psutil.Process) -> set[str]:
    return {psutil.Process(thread.id).status() for thread in process.threads()}


def test_every_thread_of_a_busy_process_stands_still_and_goes_on():
    """A thread at work sees the signal only when it enters the kernel, and would answer until then."""
    started = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None
        assert started.stdout.readline()
        process = psutil.Process(started.pid)
        for _ in range(20):
            with halted(process):
                assert statuses(process) == {psutil.STATUS_STOPPED}
            assert psutil.STATUS_STOPPED not in statuses(process)
    finally:
        started.kill()
        started.communicate()


def test_a_process_may_end_while_it_is_halted():
    """Nothing is left to go on."""
    started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(started.pid)
    with halted(process):
        started.kill()
        started.communicate()
    assert not process.is_running()
