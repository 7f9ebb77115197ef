from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from deployments.machine.preflight import (
    GIB,
    available_memory,
    refuse_if_open,
    refuse_if_short_of_memory,
    refuse_if_taken,
    refuse_if_traces_cannot_leave,
)
from deployments.machine.redis_check import check_redis
from recsys.config.security import Security
from recsys.config.serving import Tracing
from recsys.errors import BadInput, RuntimeFailure
from tests.support.ports import free_port, free_ports


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.create_server((request.param, 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_named_with_its_use_and_its_holder(taken: int) -> None:
    with pytest.raises(RuntimeFailure, match=rf"port {taken} \(dashboard\) is taken by .* \(pid {os.getpid()}\)"):
        refuse_if_taken({"dashboard": taken}, within_s=0)


def test_a_port_that_is_let_go_of_is_waited_for() -> None:
    """A platform that is started right after it was ended may find the last of its replicas still ending."""
    port = free_port()
    server = socket.create_server(("127.0.0.1", port))
    late = threading.Timer(0.5, server.close)
    late.start()
    refuse_if_taken({"the API": port})
    late.join()


def test_a_port_held_on_loopback_is_taken_for_all_interfaces_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(RuntimeFailure, match="is taken"):
        refuse_if_taken({"the API": server.getsockname()[1]}, "0.0.0.0", within_s=0)


def test_a_free_port_passes() -> None:
    refuse_if_taken({"dashboard": free_port()})


def test_one_port_cannot_have_two_uses() -> None:
    with pytest.raises(RuntimeFailure, match="wanted for dashboard and for gcs"):
        refuse_if_taken({"dashboard": 18265, "gcs": 18265})


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(RuntimeFailure, match=r"203\.0\.113\.7:18265 \(the API\) cannot be listened on"):
        refuse_if_taken({"the API": 18265}, "203.0.113.7")


def test_little_memory_is_refused_with_both_numbers() -> None:
    with pytest.raises(RuntimeFailure, match=r"1\.0 GiB of memory are available and 4\.0 GiB needed"):
        refuse_if_short_of_memory(1 * GIB, 4 * GIB)
    refuse_if_short_of_memory(4 * GIB, 4 * GIB)


def test_memory_is_read() -> None:
    assert 0 < available_memory() < 1 << 50


def test_a_redis_that_does_not_answer_is_named_without_its_password(tmp_path) -> None:
    port = free_port()
    with pytest.raises(RuntimeFailure, match=f"127.0.0.1:{port}.*does not answer") as caught:
        check_redis(f"redis://:secret@127.0.0.1:{port}/0")
    assert "secret" not in str(caught.value)


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_API_KEYS", raising=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.9", "shop.example"])
def test_the_network_gets_no_api_without_keys(no_keys: None, host: str) -> None:
    with pytest.raises(RuntimeFailure, match=r"recsys keys new .*127\.0\.0\.1.*allow_no_keys"):
        refuse_if_open(host, Security())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(no_keys: None, host: str) -> None:
    refuse_if_open(host, Security())


def test_the_network_gets_an_api_with_keys_or_on_demand(no_keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_if_open("0.0.0.0", Security(allow_no_keys=True))
    monkeypatch.setenv("RECSYS_API_KEYS", "keys: []")
    refuse_if_open("0.0.0.0", Security())


def test_keys_that_cannot_be_read_stop_the_start_even_on_loopback(no_keys: None, tmp_path) -> None:
    with pytest.raises(BadInput, match="recsys keys new"):
        refuse_if_open("127.0.0.1", Security(keys_file=tmp_path / "nowhere"))


def test_traces_without_what_sends_them_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Tracing(endpoint="http://127.0.0.1:4318/v1/traces")
    refuse_if_traces_cannot_leave(wanted)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    refuse_if_traces_cannot_leave(Tracing())
    with pytest.raises(RuntimeFailure, match=r"tracing.endpoint: .* pip install 'recsys\[otel\]'"):
        refuse_if_traces_cannot_leave(wanted)


def test_all_ports_that_are_taken_are_named_and_free_ones_proposed() -> None:
    """What a second platform on the machine needs to know."""
    gcs, dashboard = free_ports(2)
    ports = {"args.ports.gcs": gcs, "args.ports.dashboard": dashboard}
    with (
        socket.create_server(("127.0.0.1", gcs)),
        socket.create_server(("127.0.0.1", dashboard)),
        pytest.raises(RuntimeFailure) as caught,
    ):
        refuse_if_taken(ports, within_s=0)
    said = str(caught.value)
    assert all(f"port {port} ({use}) is taken" in said for use, port in ports.items())
    match = re.search(r"; (\d+) higher all are free$", said)
    assert match
    refuse_if_taken({use: port + int(match[1]) for use, port in ports.items()})
