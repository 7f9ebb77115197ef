"""The fork server of `multiprocessing`, as a fork of this process while that has one thread and all tests imported.

By itself it is a new process, which takes two seconds of a processor to import what a World needs.
"""

from __future__ import annotations

import multiprocessing.forkserver as stdlib
import os
import socket
import tempfile
from multiprocessing import resource_tracker
from pathlib import Path


class EarlyForks(stdlib.ForkServer):
    """Runs until this process has ended. `others`: connections of this process that are none of its business."""

    def __init__(self, *others: socket.socket) -> None:
        super().__init__()
        folder = tempfile.mkdtemp(prefix="recsys-early-forks-")
        self._forkserver_address = f"{folder}/socket"
        alive, self._forkserver_alive_fd = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._forkserver_address)
            listener.listen()
            if os.fork() == 0:
                os.close(self._forkserver_alive_fd)
                for other in others:
                    other.close()
                try:
                    _serve(listener, alive, Path(folder))
                finally:
                    os._exit(0)
        os.close(alive)

    def ensure_running(self) -> None:
        resource_tracker.ensure_running()


def _serve(listener: socket.socket, alive: int, folder: Path) -> None:
    os.dup2(2, 1)  # the standard streams of pytest-xdist's processes are its connections
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    server = os.getpid()
    try:
        stdlib.main(listener.fileno(), alive, [])
    finally:
        if os.getpid() == server:
            (folder / "socket").unlink()
            folder.rmdir()


def fork_early(*others: socket.socket) -> None:
    """From now on processes of the context `forkserver` are forks of this one as it is now."""
    server = EarlyForks(*others)
    stdlib.connect_to_new_process = server.connect_to_new_process
    stdlib.ensure_running = server.ensure_running
