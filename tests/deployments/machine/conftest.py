"""A small platform on ports of its own, and the config file that it starts with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.machine.runtime import Runtime
from recsys.config.platform import Ports
from tests.support.live import free_ports
from tests.support.noop_platform import CODE, PORTS, RESOURCES, WriteConfig, write_noop_config


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each use, and one for the API."""
    return free_ports()


@pytest.fixture
def write_config(tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    monkeypatch.setenv("PYTHONPATH", str(CODE))
    return lambda builder: write_noop_config(tmp_path / "config.yaml", ports["http"], builder)


@pytest.fixture
def runtime(tmp_path: Path, ports: dict[str, int]) -> Iterator[Runtime]:
    runtime = Runtime(tmp_path / "home", Ports(**{name: ports[name] for name in PORTS}), RESOURCES)
    yield runtime
    runtime.down()
