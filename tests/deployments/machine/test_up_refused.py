"""What `up` refuses before it starts anything: nothing of it stays."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trustme
import yaml

from deployments.machine.preflight import GIB
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from recsys.errors import BadInput, RuntimeFailure
from tests.support.noop_platform import WriteConfig, nothing_is_left

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported


def test_a_certificate_that_does_not_fit_is_refused_before_anything_starts(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "cert.pem")
    authority.issue_cert("shop.example").private_key_pem.write_to_path(tmp_path / "key.pem")
    config = yaml.safe_load(write_config("build").read_text())
    config["http_options"] |= {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RuntimeFailure, match=r"ssl_certfile and ssl_keyfile: .*cannot be used"):
        runtime.up(read_for_serve(tmp_path / "config.yaml"))
    assert nothing_is_left(tmp_path / "home")


def test_the_network_gets_no_api_without_keys(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECSYS_API_KEYS", raising=False)
    file = write_config("build")
    file.write_text(file.read_text().replace("127.0.0.1", "0.0.0.0"))
    with pytest.raises(RuntimeFailure, match=r"recsys keys new"):
        runtime.up(read_for_serve(file))
    assert nothing_is_left(tmp_path / "home")


def test_a_taken_port_is_refused_before_anything_starts(
    runtime: Runtime, write_config: WriteConfig, ports: dict[str, int], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", ports["http"])), pytest.raises(RuntimeFailure, match=r"http_options\.port"):
        runtime.up(read_for_serve(write_config("build")))
    assert nothing_is_left(tmp_path / "home")


def test_short_memory_is_refused_before_anything_starts(
    runtime: Runtime, write_config: WriteConfig, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"0\.5 GiB of memory are available"):
        runtime.up(read_for_serve(write_config("build")), memory=lambda: GIB // 2)
    assert nothing_is_left(tmp_path / "home")


def test_a_bad_config_file_is_refused_before_anything_starts(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        runtime.up(read_for_serve(tmp_path / "nowhere.yaml"))
    assert nothing_is_left(tmp_path / "home")


def test_status_of_a_platform_that_never_ran(runtime: Runtime) -> None:
    assert runtime.status().running is False


def test_the_clients_environment_is_left_alone(runtime: Runtime, write_config: WriteConfig) -> None:
    before = dict(os.environ)
    with pytest.raises(RuntimeFailure):
        runtime.up(read_for_serve(write_config("build")), memory=lambda: 0)
    assert dict(os.environ) == before
