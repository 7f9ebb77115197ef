"""Staying in the foreground while a platform runs, as a container and a service manager want it."""

from __future__ import annotations

import signal
import time
from contextlib import suppress

import psutil

from deployments.machine.processes import instance_processes

VITAL = ("raylet", "gcs_server", "valkey-server")
"""Processes that nothing starts again. Without one of them a platform must be started anew."""
_LOOK_S = 0.5


def end_as_by_ctrl_c() -> None:
    """Take SIGTERM, which containers are ended with, for Ctrl-C: what was started is stopped then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def until_ended(instance: str) -> str | None:
    """Return the name of the first vital process of the instance that ends. None: this process was told to end."""
    try:
        vital = {p: name for p in instance_processes(instance) if (name := _name(p)) in VITAL}
        while True:
            for process, name in vital.items():
                if not _runs(process):
                    return name
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        return None


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.name())
    return ""


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
