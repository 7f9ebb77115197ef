"""Processes of pytest-xdist that are forks of one which has imported all tests.

Importing them takes six seconds of a processor, which each process of a run would take for itself.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.support.early_forks import fork_early

CLIENT = Path(__file__).with_name("forked_worker.py")


class Forks:
    """`arguments`: what pytest is to collect."""

    def __init__(self, arguments: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="recsys-forks-")
        self._address = str(Path(self._folder.name) / "socket")
        server = socket.socket(socket.AF_UNIX)
        server.bind(self._address)
        server.listen()
        # What is registered first comes last: then the process, and each fork of it, is gone at once. To take down all
        # that was imported and made, object by object, takes half a second of a processor.
        code = "import atexit, os, sys; atexit.register(os._exit, 0); "
        code += "from tests.support.forks import serve; exec(serve(*sys.argv[1:]))"
        with server:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", code, str(server.fileno()), *arguments],
                stdin=subprocess.PIPE, pass_fds=[server.fileno()],
            )  # fmt: skip

    @property
    def python(self) -> str:
        """The command that runs code in a fork, where one would start Python."""
        return shlex.join([sys.executable, "-ISs", str(CLIENT), self._address])

    def end(self) -> None:
        self._process.communicate()
        self._folder.cleanup()


def serve(server: str, *arguments: str) -> str:
    """Fork for each client, until stdin ends. Returns in the forks only: the code to run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    gc.disable()  # it would look seven times at all that is imported, and find nothing
    _import(arguments)
    gc.disable()
    gc.freeze()
    assert _threads() <= {"jemalloc_bg_thd"}, "threads do not go along into a fork: import the library where it is used"
    with socket.socket(fileno=int(server)) as listening, selectors.DefaultSelector() as asked:
        for file in (sys.stdin, listening):
            asked.register(file, selectors.EVENT_READ)
        while sys.stdin not in [key.fileobj for key, _ in asked.select()]:
            client, _ = listening.accept()
            code, descriptors, _, _ = socket.recv_fds(client, 1000, 3)
            if os.fork() == 0:
                break
            client.close()
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            sys.exit()
    return _become(client, descriptors, code.decode())


def _import(arguments: tuple[str, ...]) -> None:
    """As pytest does when it collects."""
    shown = [os.dup(1), os.dup(2)]
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)
        pytest.main([*arguments, "--collect-only", "-q", "-p", "no:cacheprovider"])
        importlib.import_module("pandas")  # pyarrow imports it for the first array, and so would nearly all processes
        for number, descriptor in enumerate(shown, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _threads() -> set[str]:
    """The names of all threads but this one, also of those that are not Python's. That of jemalloc is started anew in
    a fork.
    """
    others = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != os.getpid()]
    return {(task / "comm").read_text().strip() for task in others}


def _become(client: socket.socket, descriptors: list[int], code: str) -> str:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.argv[:] = ["-c"]
    fork_early(client)

    def end_with() -> None:
        client.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with, daemon=True).start()
    return code
