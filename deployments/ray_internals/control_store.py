"""Ray's control store starts again while everything else of its machine goes on.

It ends when its Redis does, as at a failover, and Ray starts it with its machine only. The raylets of all machines wait
for it, and it finds its tables in Redis: so the same command line, with the Redis of now, brings it back within seconds
and no replica ends.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

NAME = "gcs_server"
_LOADED_S = 0.01
"""Seconds between two looks at a process whose program is being loaded."""


@dataclass(frozen=True)
class StartOfControlStore:
    """How Ray started the control store of this machine."""

    command: Sequence[str]
    env: Mapping[str, str]
    folder: str

    @classmethod
    def of(cls, process: psutil.Process) -> StartOfControlStore:
        """Read it from the process. Raises psutil.Error when that has ended.

        While the kernel loads the program of a process that has just started, it shows neither its command line nor its
        environment. These are read again then.
        """
        while not ((command := process.cmdline()) and (env := process.environ())):
            time.sleep(_LOADED_S)
        return cls(command, env, process.cwd())

    def again(self, redis_address: str) -> psutil.Process:
        """Start it with another Redis, `host:port` or `rediss://host:port`, and return at once."""
        command = [_moved(part, redis_address) for part in self.command]
        started = subprocess.Popen(  # noqa: S603 - Ray's own command line
            command, env=dict(self.env), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        started.returncode = 0  # it may outlive this process; otherwise Popen warns
        return psutil.Process(started.pid)


def _moved(option: str, redis_address: str) -> str:
    scheme, _, place = redis_address.rpartition("://")
    host, _, port = place.rpartition(":")
    moved = {
        "--redis_address": host.strip("[]"),
        "--redis_port": port,
        "--redis_enable_ssl": "true" if scheme == "rediss" else "false",
    }
    name = option.partition("=")[0]
    return f"{name}={moved[name]}" if name in moved else option
