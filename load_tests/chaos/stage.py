"""The platform that is broken on purpose: one of its own, on free ports, and only its processes are touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
import yaml

from deployments.machine.environment import ray_environment
from deployments.machine.instance import Instance
from deployments.machine.processes import processes_named
from deployments.machine.rollout import Rollout
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from deployments.machine.valkey import start_valkey
from load_tests.chaos.ledger import Ledger
from load_tests.chaos.servers import Servers
from load_tests.chaos.shopping import SCENARIO
from load_tests.comparison.bench import ROOT
from load_tests.comparison.cluster import PORT_SHIFT
from recsys.config.platform import Ports
from recsys.versions.store import VersionStore

_REPLICAS = {"Composer": 2, "shard-0": 2, "shard-1": 2}
_PORT = 8138
_WAITING = 200
"""Requests past which a composer answers 429: few, so that one client can send too many."""
_COMMAND = (sys.executable, "-c", "from deployments.cli import main; main()")


class FaultFailed(Exception):
    """The platform did something that it must not: the words say what."""


class Stage:
    """MovieLens 100K in two shards of two replicas each behind two composers, and the real encoder.

    `servers`: what runs beside the platform, on which it depends.
    """

    def __init__(self, folder: Path, data: Path, servers: Servers | None = None) -> None:
        self.folder, self.data = folder, data
        self.servers = servers or Servers()
        self.config_file = folder / "config.yaml"
        self.ledger = Ledger()
        self.published: set[str] = set()
        """Every version that was seen; promotions remove old ones."""
        self.home = folder / "var"
        ports = Ports(**{name: field.default + PORT_SHIFT + 1 for name, field in Ports.model_fields.items()})
        self._runtime = Runtime(self.home, ports)
        self.instance: Instance | None = None
        self.url = f"http://127.0.0.1:{_PORT}"

    def up(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config(_REPLICAS)
        self._runtime.down()
        self.servers.start()
        self.recsys("build", self.data / "items.jsonl", "--promote")
        self.instance = self._runtime.up(read_for_serve(self.config_file))
        self.recsys("import", "events", self.data / "events.jsonl")

    def down(self) -> None:
        self._runtime.down()
        self.servers.stop()

    def write_config(self, replicas: dict[str, int]) -> dict[str, Any]:
        document = yaml.safe_load((ROOT / "configs/local.yaml").read_text())
        document["http_options"]["port"] = _PORT
        [application] = document["applications"]
        application["args"] |= {"data_dir": str(self.home), **self.servers.args}
        for deployment in application["deployments"]:
            deployment.pop("autoscaling_config", None)
            deployment["num_replicas"] = replicas.get(deployment["name"], 1)
            if deployment["name"] == "Composer":
                deployment["user_config"]["max_waiting"] = _WAITING
                scenarios = deployment["user_config"]["scenarios"]
                scenarios[SCENARIO] = scenarios["home"]
        self.config_file.write_text(yaml.safe_dump(document))
        return read_for_serve(self.config_file).document

    def scale(self, **replicas: int) -> None:
        """Through Serve's own API, as `serve deploy` does."""
        assert self.instance is not None
        wanted = _REPLICAS | {name.replace("_", "-"): count for name, count in replicas.items()}
        with Rollout(self.instance.dashboard_url, self.instance.token, self.instance.log_dir / "ray") as rollout:
            rollout.submit(self.write_config(wanted))

    def with_environment(self, deployment: str, runtime_env: dict[str, Any]) -> None:
        """Replicas of a deployment start anew in this environment."""
        assert self.instance is not None
        config = self.write_config(_REPLICAS)
        entry = next(d for d in config["applications"][0]["deployments"] if d["name"] == deployment)
        entry["ray_actor_options"] = {**entry.get("ray_actor_options", {}), "runtime_env": runtime_env}
        with Rollout(self.instance.dashboard_url, self.instance.token, self.instance.log_dir / "ray") as rollout:
            rollout.submit(config)
            rollout.wait(self.url, lambda _: None, 180)

    def recsys(self, *arguments: object) -> str:
        """Raises CalledProcessError with the command's own words."""
        command = [*_COMMAND, *map(str, arguments), "--config", str(self.config_file)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300, stdin=subprocess.DEVNULL
        ).stdout

    def processes(self, marker: str) -> list[psutil.Process]:
        """Those whose command line or name has the marker in it."""
        assert self.instance is not None
        return processes_named(self.instance.id, marker)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        return self.processes(f"ServeReplica:recsys:{deployment}")

    def start_valkey(self) -> None:
        assert self.instance is not None
        start_valkey(
            self.home / "valkey", self.instance.valkey_socket, self.instance.log_dir / "valkey.log",
            env=ray_environment(self.instance, os.environ),
        )  # fmt: skip

    def redis(self) -> redis.Redis:
        """The embedded Valkey."""
        assert self.instance is not None
        return redis.Redis.from_url(self.instance.redis_url)

    def store(self) -> VersionStore:
        return VersionStore(self.home / "versions")

    def serves(self, version: str) -> bool:
        """Whether all composers do: four calls reach both."""
        return all(self.status()["index_version"] == version for _ in range(4))

    def another_version(self) -> str:
        """One of the same items that is not the one served."""
        self.recsys("build", self.data / "items.jsonl")
        live = self.status()["index_version"]
        return max(version for version in self.versions() if version != live)

    def status(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/v1/status", timeout=5, trust_env=False).json())

    def whole(self, replicas: dict[str, int] | None = None) -> bool:
        """Whether every part is there again, and answers are complete."""
        wanted = _REPLICAS | (replicas or {})
        try:
            status = self.status()
            counts = [len(shard["replicas"]) for shard in status["shards"]]
            if status["degraded"] or counts != [wanted["shard-0"], wanted["shard-1"]]:
                return False
            for _ in range(4):  # both composers
                answer = httpx.post(f"{self.url}/v1/search", json={"text": f"film {time.time()}"}, trust_env=False)
                if answer.status_code != 200 or answer.json()["degraded"]:
                    return False
            return all(len(self.replicas(name)) == count for name, count in wanted.items())
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    def versions(self) -> list[str]:
        names = [row["version"] for row in json.loads(self.recsys("versions", "--json"))]
        self.published |= {*names}
        return names


def takes_writes(url: str) -> bool:
    """Whether an event is acknowledged."""
    event = {"event_id": uuid.uuid4().hex, "user_id": "sentinel", "item_id": "1", "type": "view"}
    try:
        answer = httpx.post(f"{url}/v1/events", json={"events": [event]}, timeout=10, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def eventually(test: Callable[[], bool], within_s: float, every_s: float = 0.2) -> bool:
    """Asks until it is so; False where it never is."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if test():
            return True
        time.sleep(every_s)
    return test()
