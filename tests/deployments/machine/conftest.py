"""A small platform on ports of its own, and the config file that it starts with."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments.machine.preflight import GIB
from deployments.machine.runtime import Resources, Runtime
from recsys.config.platform import Ports
from tests.support.live import REPOSITORY
from tests.support.noop_platform import PORTS, WriteConfig


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each use, and one for the API."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in (*PORTS, "http")]
        return {name: server.getsockname()[1] for name, server in zip((*PORTS, "http"), sockets, strict=True)}


@pytest.fixture
def write_config(tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "support"))  # where replicas find noop_app

    def write(builder: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(
            f"proxy_location: HeadOnly\n"
            f"http_options: {{host: 127.0.0.1, port: {ports['http']}}}\n"
            f"applications: [{{name: noop, route_prefix: /, import_path: 'noop_app:{builder}', args: {{}}}}]\n"
        )
        return file

    return write


@pytest.fixture
def runtime(tmp_path: Path, ports: dict[str, int]) -> Iterator[Runtime]:
    runtime = Runtime(
        tmp_path / "home",
        Ports(**{name: ports[name] for name in PORTS}),
        Resources(num_cpus=1, object_store_bytes=100 << 20, memory_needed=GIB),
    )
    yield runtime
    runtime.down()
