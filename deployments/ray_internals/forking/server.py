"""The fork server: `python -m deployments.ray_internals.forking.server`, one a machine, started before Ray.

It has one thread and opens nothing but its socket, so that a fork is as good as a new process. Only its own user can
reach it: the socket lies in the instance's folder, which is open to nobody else.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from deployments.ray_internals import first_deploy
from deployments.ray_internals.forking.client import LENGTH, SOCKET, YES
from deployments.ray_internals.forking.imports import JOB, RAYLET, import_ours, import_rays
from deployments.ray_internals.loopback.worker import be_rays_worker

VARIES = (RAYLET, JOB, "RAY_CLIENT_MODE", "RAY_LD_PRELOAD_ON_WORKERS", "SPT_NOENV", "RAY_SERVE_INTERNAL_DEPLOYMENT_")
"""Beginnings of what Ray itself sets for a worker, and on which no import depends: it may differ from the server's."""
_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 20


class Request(msgspec.Struct, frozen=True):
    """What `client` asks for."""

    argv: list[str]
    env: dict[str, str]
    folder: str
    """The working one."""
    python: list[str]
    """The interpreter, and where it finds modules."""
    oom_score: str
    """How soon the kernel is to end it when memory runs out."""


def serve(listener: socket.socket, env: Mapping[str, str], python: Sequence[str]) -> tuple[Request, list[int]]:
    """Returns in the forks only: what each is to be, and its three standard streams. `env` and `python` are the
    server's own, from before any import.
    """
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_TIMEOUT_S)
            request, streams = _read(connection)
            if request is not None and _fits(request, env, python) and _promised(connection, request) and _forked():
                return request, streams
        for stream in streams:
            os.close(stream)


def _read(connection: socket.socket) -> tuple[Request | None, list[int]]:
    """None of a caller who does not speak as `client` does."""
    streams: list[int] = []
    try:
        head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
        [length] = LENGTH.unpack(head)
        message = b""
        while len(message) < min(length, _MOST_BYTES) and (more := connection.recv(length - len(message))):
            message += more
        return msgspec.json.decode(message, type=Request) if len(streams) == 3 else None, streams
    except (OSError, struct.error, msgspec.MsgspecError):
        return None, streams


def _fits(request: Request, env: Mapping[str, str], python: Sequence[str]) -> bool:
    """Whether what was imported here is what the worker would import."""
    different = [name for name in request.env.keys() | env.keys() if request.env.get(name) != env.get(name)]
    reasons = [name for name in different if not name.startswith(VARIES)]
    if request.python != python:
        reasons.append("another Python or path")
    raylet = request.env.get(RAYLET)
    if raylet is None or os.environ.get(RAYLET, raylet) != raylet:
        reasons.append(RAYLET)
    if reasons:
        _LOG.warning("a worker starts by itself, for it differs in %s", ", ".join(sorted(reasons)))
    return not reasons


def _promised(connection: socket.socket, request: Request) -> bool:
    """False: nobody waits any more, and that worker has started without us."""
    if RAYLET not in os.environ:
        import_rays(request.env[RAYLET])
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended
    try:
        connection.sendall(YES)
    except OSError:
        return False
    return True


def _forked() -> bool:
    try:
        return os.fork() == 0
    except OSError as error:  # Ray asks again for a worker that does not come
        _LOG.warning("no fork: %s", error)
        return False


def take_over(request: Request, streams: Sequence[int]) -> None:
    """What a new process would have of its own."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request.folder)
    os.environ |= request.env  # beside the few that imports set
    with suppress(OSError):  # a hardened container does not let it: Ray itself goes on then, too
        Path("/proc/self/oom_score_adj").write_text(request.oom_score)
    np.random.seed()  # noqa: NPY002 - forks would all draw the same numbers from the old generator
    sys.argv = list(request.argv)


def main() -> None:
    del sys.path[0]  # the working folder
    env, python = dict(os.environ), [sys.executable, *sys.path]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.environ[SOCKET])
        listener.listen(64)  # from now on workers wait for the imports
        import_ours()
        request, streams = serve(listener, env, python)
    take_over(request, streams)
    if request.argv[0] == first_deploy.NAME:
        first_deploy.deploy()
    else:
        be_rays_worker()


if __name__ == "__main__":
    main()
