"""The whole life of a platform, on real processes: Ray, HAProxy and Valkey on ports of their own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from deployments.instance import Instance, Ports, instance_id, runtime_dir, state_file
from deployments.preflight import GIB
from deployments.processes import instance_processes
from deployments.runtime import Resources, Runtime
from recsys.errors import BadInput, RuntimeFailure

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported
RAY_ADDRESS_FILE = Path("/tmp/ray/ray_current_cluster")
PORTS = tuple(Ports.model_fields)
WriteConfig = Callable[[str], Path]


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each use, and one for the API."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in (*PORTS, "http")]
        return {name: server.getsockname()[1] for name, server in zip((*PORTS, "http"), sockets, strict=True)}


@pytest.fixture
def write_config(tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where replicas find noop_app

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


def nothing_is_left(home: Path) -> bool:
    return not (instance_processes(instance_id(home)) or runtime_dir(home).exists() or state_file(home).exists())


def listens_beyond_loopback(instance: Instance) -> list[str]:
    found = []
    for process in instance_processes(instance.id):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                address = ip_address(connection.laddr.ip)
                address = getattr(address, "ipv4_mapped", None) or address
                if not address.is_loopback:
                    found.append(f"{process.name()} {connection.laddr.ip}:{connection.laddr.port}")
    return found


@pytest.mark.cluster
def test_up_serves_on_loopback_only_and_down_leaves_nothing(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    others = RAY_ADDRESS_FILE.read_text() if RAY_ADDRESS_FILE.exists() else None
    phases: list[str] = []
    config = write_config("build")
    instance = runtime.up(config, phases.append)

    assert phases[:4] == ["checks", "Valkey", "Ray", "Serve"]
    assert httpx.get(instance.api_url, trust_env=False).text == "inner"
    assert httpx.get(f"{instance.dashboard_url}/api/serve/applications/", trust_env=False).status_code == 401
    with redis.Redis.from_url(instance.redis_url) as client:
        client.set("kept", "1")
    assert listens_beyond_loopback(instance) == []
    assert others == (RAY_ADDRESS_FILE.read_text() if RAY_ADDRESS_FILE.exists() else None)

    status = runtime.status()
    assert (status.running, status.applications) == (True, {"noop": "RUNNING"})
    assert status.instance == instance
    with pytest.raises(RuntimeFailure, match="has a platform already"):
        runtime.up(config)
    assert httpx.get(instance.api_url, trust_env=False).is_success  # the refusal did not end what ran

    assert runtime.down() == status.processes
    assert nothing_is_left(tmp_path / "home")
    assert not runtime.status().running
    assert runtime.down() == 0


@pytest.mark.cluster
def test_a_deployment_that_cannot_start_is_named_and_nothing_stays(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"Broken: .*the index is upside down") as caught:
        runtime.up(write_config("build_broken"))
    assert "\n" not in str(caught.value)
    assert nothing_is_left(tmp_path / "home")
    assert list((tmp_path / "home" / "logs" / "ray" / "serve").glob("replica_noop_Broken*"))


@pytest.mark.cluster
def test_an_import_path_that_does_not_exist_is_named_and_nothing_stays(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match="build_nothing"):
        runtime.up(write_config("build_nothing"))
    assert nothing_is_left(tmp_path / "home")


def test_a_taken_port_is_refused_before_anything_starts(
    runtime: Runtime, write_config: WriteConfig, ports: dict[str, int], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", ports["http"])), pytest.raises(RuntimeFailure, match=r"http_options\.port"):
        runtime.up(write_config("build"))
    assert nothing_is_left(tmp_path / "home")


def test_short_memory_is_refused_before_anything_starts(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"0\.5 GiB of memory are available"):
        runtime.up(write_config("build"), memory=lambda: GIB // 2)
    assert nothing_is_left(tmp_path / "home")


def test_a_bad_config_file_is_refused_before_anything_starts(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        runtime.up(tmp_path / "nowhere.yaml")
    assert nothing_is_left(tmp_path / "home")


def test_status_of_a_platform_that_never_ran(runtime: Runtime) -> None:
    assert runtime.status().running is False


def test_the_clients_environment_is_left_alone(runtime: Runtime, write_config: WriteConfig) -> None:
    before = dict(os.environ)
    with pytest.raises(RuntimeFailure):
        runtime.up(write_config("build"), memory=lambda: 0)
    assert dict(os.environ) == before
