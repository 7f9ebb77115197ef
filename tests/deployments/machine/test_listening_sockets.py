"""Sockets that are open to the network are found before `recsys up` says that all is well."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

from deployments.machine.listening_sockets import refuse_if_exposed
from deployments.machine.processes import MARKER
from recsys.errors import RuntimeFailure

LISTEN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 0), family=family)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
INSTANCE = uuid.uuid4().hex


@pytest.fixture
def listen() -> Iterator[Callable[[str], tuple[int, int]]]:
    """Start a process of the instance that listens on an address: its pid and its port."""
    started = []

    def run(host: str) -> tuple[int, int]:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN, host], env={**os.environ, MARKER: INSTANCE},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return process.pid, int(process.stdout.readline())

    yield run
    for process in started:
        process.communicate()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_socket_on_every_interface_is_refused_and_named(listen: Callable[[str], tuple[int, int]], host: str) -> None:
    pid, port = listen(host)
    with pytest.raises(RuntimeFailure, match=rf"python\S* \(pid {pid}\) on {host}:{port} would be open") as caught:
        refuse_if_exposed(INSTANCE)
    assert "\n" not in str(caught.value)
    refuse_if_exposed(uuid.uuid4().hex)  # another instance's are not ours to judge


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_passes(listen: Callable[[str], tuple[int, int]], host: str) -> None:
    listen(host)
    refuse_if_exposed(INSTANCE)


def test_the_api_may_be_open_where_the_config_file_says_so(listen: Callable[[str], tuple[int, int]]) -> None:
    _, port = listen("0.0.0.0")
    refuse_if_exposed(INSTANCE, port)
