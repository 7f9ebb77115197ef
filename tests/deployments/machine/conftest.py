"""A small platform on ports of its own, and the config file that it starts with."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments.machine.runtime import Runtime
from recsys.config.platform import Ports
from tests.support.noop_platform import CODE, PORTS, RESOURCES, WriteConfig, write_noop_config


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each use, and one for the API."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in (*PORTS, "http")]
        return {name: server.getsockname()[1] for name, server in zip((*PORTS, "http"), sockets, strict=True)}


@pytest.fixture
def write_config(tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    monkeypatch.setenv("PYTHONPATH", str(CODE))
    return lambda builder: write_noop_config(tmp_path / "config.yaml", ports["http"], builder)


@pytest.fixture
def runtime(tmp_path: Path, ports: dict[str, int]) -> Iterator[Runtime]:
    runtime = Runtime(tmp_path / "home", Ports(**{name: ports[name] for name in PORTS}), RESOURCES)
    yield runtime
    runtime.down()
