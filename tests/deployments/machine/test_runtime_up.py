"""The whole life of a platform, on real processes: Ray, HAProxy and Valkey on ports of their own."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest
import redis
import trustme
import yaml

from deployments.cli.client import Client
from deployments.cli.platform_choice import running_instances
from deployments.machine.instance import Instance
from deployments.machine.preflight import GIB
from deployments.machine.processes import MARKER, instance_processes, stop_instance
from deployments.machine.runtime import Resources, Runtime
from deployments.machine.serve_config import read_for_serve
from deployments.machine.valkey import start_valkey, valkey_url
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure
from tests.support.live import free_ports
from tests.support.noop_platform import PORTS, WriteConfig, nothing_is_left

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported
RAY_ADDRESS_FILE = Path("/tmp/ray/ray_current_cluster")
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[str]:
    """A Valkey that asks for a password, on a socket."""
    instance = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # short: a socket's path must stay below 108 characters
        path = Path(name)
        start_valkey(path / "data", path / "s", path / "log", env={**os.environ, MARKER: instance})
        with redis.Redis.from_url(valkey_url(path / "s")) as client:
            client.config_set("requirepass", PASSWORD)
        yield f"unix://:{PASSWORD}@{path / 's'}"
        stop_instance(instance)


def handshake(url: httpx.URL, version: ssl.TLSVersion) -> bool:
    """Whether the server speaks just that version; the client would speak any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with socket.create_connection((url.host, url.port)) as line:
        try:
            context.wrap_socket(line).close()
        except (ssl.SSLError, OSError):
            return False
    return True


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
    """And the next start may follow at once, though connections to its ports end only now."""
    others = RAY_ADDRESS_FILE.read_text() if RAY_ADDRESS_FILE.exists() else None
    phases: list[str] = []
    config = write_config("build")
    instance = runtime.up(read_for_serve(config), phases.append)

    assert phases[:4] == ["checks", "Valkey", "Ray", "Serve"]
    assert httpx.get(instance.api_url, trust_env=False).json() == {"part": "inner"}
    assert httpx.get(f"{instance.dashboard_url}/api/serve/applications/", trust_env=False).status_code == 401
    with redis.Redis.from_url(instance.redis_url) as client:
        client.set("kept", "1")
    assert listens_beyond_loopback(instance) == []
    assert others == (RAY_ADDRESS_FILE.read_text() if RAY_ADDRESS_FILE.exists() else None)

    status = runtime.status()
    assert (status.running, status.applications) == (True, {"noop": "RUNNING"})
    assert status.instance == instance
    with pytest.raises(RuntimeFailure, match="has a platform already"):
        runtime.up(read_for_serve(config))
    assert httpx.get(instance.api_url, trust_env=False).is_success  # the refusal did not end what ran

    with httpx.Client(base_url=instance.api_url, trust_env=False) as open_line:
        assert open_line.get("/").is_success
        assert runtime.down() == status.processes  # so that the server ends the connection, and its port waits
    assert nothing_is_left(tmp_path / "home")
    assert not runtime.status().running
    again = runtime.up(read_for_serve(config))
    assert again.ports == instance.ports
    assert httpx.get(again.api_url, trust_env=False).json() == {"part": "inner"}
    with redis.Redis.from_url(again.redis_url) as client:
        assert client.get("kept") == b"1"
    assert runtime.down()
    assert nothing_is_left(tmp_path / "home")
    assert runtime.down() == 0


def running_in(folder: Path) -> list[Path]:
    """Homes of the platforms that run there; that of the session runs elsewhere, beside this test."""
    return [found.home for found in running_instances() if folder in found.home.parents]


@pytest.mark.cluster
def test_two_platforms_run_side_by_side(tmp_path: Path, write_config: WriteConfig, ports: dict[str, int]) -> None:
    """With ports and a folder of their own in their config files; the end of one leaves the other."""
    resources = Resources(num_cpus=1, object_store_bytes=100 << 20, memory_needed=GIB)
    known, others = yaml.safe_load(write_config("build").read_text()), free_ports()
    platforms = []
    for name, numbers in (("one", ports), ("other", others)):
        known["http_options"]["port"] = numbers["http"]
        known["applications"][0]["args"] = {"data_dir": name, "ports": {use: numbers[use] for use in PORTS}}
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(known))
        platforms.append((Runtime(tmp_path / name, resources=resources), read_for_serve(file)))
    (one, config), (other, other_config) = platforms
    try:
        first = one.up(config)
        with pytest.raises(RuntimeFailure, match=r"args\.ports\.gcs\) is taken by .*all are free") as caught:
            Runtime(tmp_path / "third", Ports(**{use: ports[use] for use in PORTS}), resources).up(other_config)
        assert "http_options.port" not in str(caught.value)
        second = other.up(other_config)
        assert running_in(tmp_path) == [tmp_path / "one", tmp_path / "other"]
        for instance in (first, second):
            assert httpx.get(instance.api_url, trust_env=False).json() == {"part": "inner"}
        assert one.down()
        assert nothing_is_left(tmp_path / "one")
        assert httpx.get(second.api_url, trust_env=False).json() == {"part": "inner"}
        assert other.status().applications == {"noop": "RUNNING"}
        assert running_in(tmp_path) == [tmp_path / "other"]
    finally:
        one.down()
        other.down()


@pytest.mark.cluster
def test_a_deployment_that_cannot_start_is_named_and_nothing_stays(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"Broken: .*the index is upside down") as caught:
        runtime.up(read_for_serve(write_config("build_broken")))
    assert "\n" not in str(caught.value)
    assert nothing_is_left(tmp_path / "home")
    assert list((tmp_path / "home" / "logs" / "ray" / "serve").glob("replica_noop_Broken*"))


@pytest.mark.cluster
def test_a_socket_that_is_open_to_the_network_stops_the_start(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"on 0\.0\.0\.0:\d+ would be open to the network") as caught:
        runtime.up(read_for_serve(write_config("build_exposed")))
    assert "\n" not in str(caught.value)
    assert nothing_is_left(tmp_path / "home")


@pytest.mark.cluster
def test_an_import_path_that_does_not_exist_is_named_and_nothing_stays(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match="build_nothing"):
        runtime.up(read_for_serve(write_config("build_nothing")))
    assert nothing_is_left(tmp_path / "home")


@pytest.mark.cluster
def test_tls_ends_at_haproxy_and_no_password_reaches_a_log(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path, own_redis: str
) -> None:
    """With the certificate and key of http_options, and a Redis that asks for a password."""
    authority = trustme.CA()
    issued = authority.issue_cert("shop.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    config = yaml.safe_load(write_config("build").read_text())
    config["http_options"] |= {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    config["applications"][0]["args"] = {"redis_url": own_redis}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    instance = runtime.up(read_for_serve(file))

    url = httpx.URL(instance.api_url)
    assert url.scheme == "https"
    with Client(instance.api_url, instance.certificate) as client:
        assert client.call("GET", "/") == {"part": "inner"}
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(url, trust_env=False)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url.copy_with(scheme="http"), trust_env=False)
    assert handshake(url, ssl.TLSVersion.TLSv1_2)
    assert not handshake(url, ssl.TLSVersion.TLSv1_1)
    assert instance.tls_file.stat().st_mode & 0o777 == 0o600

    runtime.down()
    logs = [path for path in (tmp_path / "home" / "logs").rglob("*") if path.is_file()]
    assert len(logs) > 10
    assert [path for path in logs if PASSWORD in path.read_text(errors="replace")] == []
    assert nothing_is_left(tmp_path / "home")
