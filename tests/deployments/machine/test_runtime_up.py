"""The whole life of a platform, on real processes: Ray, HAProxy and Valkey on ports of their own."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
import redis
import trustme
import yaml

from deployments.cli.client import Client
from deployments.cli.platform_choice import running_instances
from deployments.machine.instance import Instance
from deployments.machine.processes import MARKER, instance_processes, stop_instance
from deployments.machine.rollout import rollout_of
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, read_for_serve
from deployments.machine.valkey import start_valkey, valkey_url
from recsys.data.movielens import Ml100k
from recsys.errors import RuntimeFailure
from tests.support.live import free_ports, local_config, recsys_here, refused_here
from tests.support.noop_platform import CODE, PORTS, RESOURCES, WriteConfig, nothing_is_left, write_noop_config

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


@dataclass(frozen=True)
class Platform:
    home: Path
    runtime: Runtime
    config: ServeConfig


def platform_at(home: Path, *, redis_url: str | None = None, **http_options: object) -> Platform:
    """With ports and a folder of its own in its config file, which lies beside the folder."""
    numbers = free_ports()
    file = write_noop_config(home.with_suffix(".yaml"), numbers["http"], "build")
    document = yaml.safe_load(file.read_text())
    document["http_options"] |= http_options
    args = {"data_dir": home.name, "ports": {use: numbers[use] for use in PORTS}, "redis_url": redis_url}
    document["applications"][0]["args"] = args
    file.write_text(yaml.safe_dump(document))
    return Platform(home, Runtime(home, resources=RESOURCES), read_for_serve(file))


@dataclass(frozen=True)
class Started(Platform):
    instance: Instance
    phases: list[str]
    """Of its start."""
    ray_address: str | None
    """What stood, before its start, in the file by which Ray finds a cluster of the machine."""


def ray_address() -> str | None:
    return RAY_ADDRESS_FILE.read_text() if RAY_ADDRESS_FILE.exists() else None


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """It runs until the test that ends it."""
    platform, before, phases = platform_at(tmp_path_factory.mktemp("runtime") / "first"), ray_address(), []
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(CODE))
        try:
            instance = platform.runtime.up(platform.config, phases.append)
            yield Started(platform.home, platform.runtime, platform.config, instance, phases, before)
        finally:
            platform.runtime.down()


def answer(instance: Instance) -> object:
    return httpx.get(instance.api_url, trust_env=False).raise_for_status().json()


@pytest.mark.cluster
def test_up_serves_on_loopback_only(first: Started) -> None:
    instance = first.instance
    assert first.phases[:4] == ["checks", "Valkey", "Ray", "Serve"]
    assert answer(instance) == {"part": "inner"}
    assert httpx.get(f"{instance.dashboard_url}/api/serve/applications/", trust_env=False).status_code == 401
    assert listens_beyond_loopback(instance) == []
    assert first.ray_address == ray_address()

    status = first.runtime.status()
    assert (status.running, status.applications) == (True, {"noop": "RUNNING"})
    assert status.instance == instance
    with pytest.raises(RuntimeFailure, match="has a platform already"):
        first.runtime.up(first.config)
    assert answer(instance) == {"part": "inner"}  # the refusal did not end what ran


@pytest.mark.cluster
def test_shards_are_indexed_by_tasks_of_another_cluster(
    first: Started, data: Ml100k, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the config file's folder knows nothing of: its token comes from Ray's own variables."""
    hashing = {"kind": "hashing", "dimension": 16}
    config = local_config(tmp_path / "config.yaml", data_dir=str(tmp_path / "var"), encoder=hashing, shards=3)
    address = f"127.0.0.1:{first.instance.ports.gcs}"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(first.instance.token_file))
    built = orjson.loads(recsys_here(config, "build", data.items_file, "--address", address, "--json"))
    assert (built["items"], built["shards"]) == (data.items, 3)
    assert built["recall_at_10"] >= 0.95

    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(config))  # no token at all
    said = refused_here(config, "build", data.items_file, "--address", address)
    assert f"the Ray at {address} cannot be reached" in " ".join(said.split())


@pytest.mark.cluster
def test_what_cannot_start_is_named(first: Started) -> None:
    """An import path that does not exist, and a deployment with words of its own, in one line. What ran before is
    served again when its config file is handed in.
    """
    wrong = deepcopy(first.config.document)
    with rollout_of(first.instance) as rollout:
        for builder, told in (
            ("build_nothing", "build_nothing"),
            ("build_broken", "Broken: .*the index is upside down"),
        ):
            wrong["applications"][0]["import_path"] = f"noop_app:{builder}"
            rollout.submit(wrong)
            with pytest.raises(RuntimeFailure, match=told) as caught:
                rollout.wait(first.instance.api_url, lambda _: None, 120)
            assert "\n" not in str(caught.value)
        rollout.submit(first.config.document)
        rollout.wait(first.instance.api_url, lambda _: None, 120)
    assert answer(first.instance) == {"part": "inner"}


def running_in(folder: Path) -> list[Path]:
    """Homes of the platforms that run there; that of the session runs elsewhere, beside this test."""
    return [found.home for found in running_instances() if folder in found.home.parents]


@pytest.mark.cluster
def test_another_platform_runs_beside_it_behind_tls_and_no_password_reaches_a_log(
    first: Started, own_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ports, folder, certificate and key in its config file, and a Redis that asks for a password; its end leaves
    the first one.
    """
    monkeypatch.setenv("PYTHONPATH", str(CODE))
    folder = first.home.parent
    authority = trustme.CA()
    issued = authority.issue_cert("shop.example")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    other = platform_at(folder / "other", redis_url=own_redis, ssl_certfile=str(certificate), ssl_keyfile=str(key))
    with pytest.raises(RuntimeFailure, match=r"args\.ports\.gcs\) is taken by .*all are free") as caught:
        Runtime(folder / "third", first.config.platform.ports, RESOURCES).up(other.config)
    assert "http_options.port" not in str(caught.value)
    try:
        instance = other.runtime.up(other.config)
        assert running_in(folder) == [first.home, other.home]
        assert answer(first.instance) == {"part": "inner"}

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
    finally:
        assert other.runtime.down()
    logs = [path for path in (other.home / "logs").rglob("*") if path.is_file()]
    assert len(logs) > 10
    assert [path for path in logs if PASSWORD in path.read_text(errors="replace")] == []
    assert nothing_is_left(other.home)
    assert answer(first.instance) == {"part": "inner"}
    assert first.runtime.status().applications == {"noop": "RUNNING"}
    assert running_in(folder) == [first.home]


@pytest.mark.cluster
def test_down_leaves_nothing_and_the_next_start_may_follow_at_once(first: Started) -> None:
    """Though connections to its ports end only now. What was written to its Valkey is there again."""
    with redis.Redis.from_url(first.instance.redis_url) as client:
        client.set("kept", "1")
    processes = first.runtime.status().processes
    with httpx.Client(base_url=first.instance.api_url, trust_env=False) as open_line:
        assert open_line.get("/").is_success
        assert first.runtime.down() == processes  # so that the server ends the connection, and its port waits
    assert nothing_is_left(first.home)
    assert not first.runtime.status().running
    again = first.runtime.up(first.config)
    assert again.ports == first.instance.ports
    assert answer(again) == {"part": "inner"}
    with redis.Redis.from_url(again.redis_url) as client:
        assert client.get("kept") == b"1"
    assert first.runtime.down()
    assert nothing_is_left(first.home)
    assert first.runtime.down() == 0


@pytest.mark.cluster
def test_a_socket_that_is_open_to_the_network_stops_the_start_and_nothing_but_logs_stays(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"on 0\.0\.0\.0:\d+ would be open to the network") as caught:
        runtime.up(read_for_serve(write_config("build_exposed")))
    assert "\n" not in str(caught.value)
    assert nothing_is_left(tmp_path / "home")
    assert list((tmp_path / "home" / "logs" / "ray" / "serve").glob("replica_noop_Exposed*"))
