"""What a worker that Ray starts asks the fork server. It imports next to nothing: that is its whole point."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SOCKET = "RECSYS_FORK_SERVER"
"""Environment variable with the path of the server's socket; unset: there is none."""
LENGTH = struct.Struct("!I")
"""Comes before the request, with the three standard streams."""
YES = b"y"
PATIENCE_S = 20.0
"""For a server that still imports, on a slow machine; then the worker starts by itself."""


def forked(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork becomes the worker of this command line and environment. It gets this process's working folder and
    streams; False: nobody has heard of it, start it here.
    """
    return _asked(argv, env, sys.path, waits=True)


def announce(raylet: int) -> None:
    """Tell the server the raylet's process id, so that it has imported Ray before the first worker comes.

    It is a request of somebody who does not wait for the answer, and so gets no fork. Called in a module that Python
    was started with, of whose path the first entry is the working folder.
    """
    _asked((), {**os.environ, "RAY_RAYLET_PID": str(raylet)}, sys.path[1:], waits=False)


def _asked(argv: Sequence[str], env: Mapping[str, str], path: Sequence[str], *, waits: bool) -> bool:
    server_socket = os.environ.get(SOCKET)
    if not server_socket:
        return False
    try:
        request = {
            "argv": list(argv),
            "env": dict(env),
            "folder": str(Path.cwd()),
            "python": [sys.executable, *path],
            "oom_score": Path("/proc/self/oom_score_adj").read_text(),  # the raylet has set it: whom to end first
        }
        message = json.dumps(request).encode()
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(PATIENCE_S)
            server.connect(server_socket)
            socket.send_fds(server, [LENGTH.pack(len(message))], [0, 1, 2])
            server.sendall(message)
            return waits and server.recv(1) == YES
    except OSError:
        return False
