"""Three machines on this one, which are broken on purpose: see `namespaces.py`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.machine.rollout import Rollout
from deployments.machine.serve_config import read_for_serve
from load_tests.chaos.front import Front
from load_tests.chaos.ledger import Ledger
from load_tests.chaos.machine import Machine
from load_tests.chaos.namespaces import Namespaces
from load_tests.chaos.servers import ObjectStore, Sentinels
from load_tests.chaos.stage import eventually
from load_tests.comparison.bench import ROOT
from recsys.errors import RecsysError

REPLICAS = {"Composer": 3, "Encoder": 1, "shard-0": 2, "shard-1": 2}
_API, _GCS, _DASHBOARD, _FRONT = 8000, 6385, 8265, 8139
_UP_WITHIN_S = 240.0
_COMMAND = (sys.executable, "-c", "from deployments.cli import main; main()")


class ClusterStage:
    """`configs/production.yaml` on three machines, with a Redis, its replica and three Sentinels beside, and a load
    balancer before.

    Of the file stay deployments, spread and settings; replicas are of a fixed number, items are in two shards and texts
    are hashed, so that it fits on a small machine. The first machine is the head.
    """

    def __init__(self, folder: Path, items: Path, code: Path = ROOT, *, apart: bool = False) -> None:
        """`items`: the file of items to serve. `code`: the folder whose code runs at first. `apart`: each machine has a
        `data_dir` of its own, and the versions lie in an object store; else all share one folder.
        """
        self.folder, self.items = folder, items
        self.ledger = Ledger()
        self.network = Namespaces(3, folder / "runtime")
        self.redis = Sentinels(folder / "redis", self.network.host)
        self.config_file = folder / "config.yaml"
        self.store = ObjectStore(folder / "store", self.network.host) if apart else None
        self._token = folder / "token"
        self.url = f"http://127.0.0.1:{_FRONT}"
        self._code = code
        addresses = self.network.addresses
        self.front = Front(folder, _FRONT, [f"{address}:{_API}" for address in addresses])
        self.machines = [
            Machine(
                partial(self.network.within, number),
                address,
                self._home(number) / "var",
                self.config_file,
                ["--head", "--machines", "3"] if number == 0 else ["--join", f"{addresses[0]}:{_GCS}"],
                code,
                self._variables(number),
            )
            for number, address in enumerate(addresses)
        ]

    def up(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.network.up()
        self.redis.start()
        if self.store is not None:
            self.store.start()
        self._token.write_text(os.urandom(32).hex())
        self._token.chmod(0o600)
        self.write_config()
        self.recsys("build", self.items, "--promote")
        self.machines[0].start()
        if not eventually(self._head_listens, _UP_WITHIN_S):
            raise RuntimeError(f"the head is not up: see {self._home(0)}/var/nodes")
        for machine in self.machines[1:]:
            machine.start()
        self.front.start()
        if not eventually(self.whole, _UP_WITHIN_S, every_s=2.0):  # what is starting needs the machine
            raise RuntimeError(f"the cluster is not up after {_UP_WITHIN_S:.0f} s: {self.missing()}")

    def down(self) -> None:
        ends = [threading.Thread(target=machine.stop) for machine in self.machines]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        self.front.stop()
        self.redis.stop()
        if self.store is not None:
            self.store.stop()
        self.network.down()

    def _home(self, number: int) -> Path:
        """What relative paths of the config file are taken from on a machine."""
        return self.folder if self.store is None else self.folder / f"machine-{number}"

    def _variables(self, number: int) -> dict[str, str]:
        return {"RECSYS_HOME": str(self._home(number)), "RECSYS_TOKEN_FILE": str(self._token)}

    def write_config(self, **changes: Any) -> dict[str, Any]:
        """`changes`: of a deployment's entry, by its name with `_` for `-`."""
        document = yaml.safe_load((self._code / "configs/production.yaml").read_text())
        [application] = document["applications"]
        application["args"] |= {
            "data_dir": "var", "redis_url": self.redis.args["redis_url"], "shards": 2,
            "encoder": {"kind": "hashing", "dimension": 96}, **({} if self.store is None else self.store.args),
        }  # fmt: skip
        kept = [entry for entry in application["deployments"] if entry["name"] in REPLICAS]
        for entry in kept:
            entry.pop("autoscaling_config", None)
            entry["num_replicas"] = REPLICAS[entry["name"]]
            entry.update(changes.get(entry["name"].replace("-", "_"), {}))
            if entry["name"] == "Composer":
                entry["max_replicas_per_node"] = 1  # so each machine has an entrance, also one that came back
                # On a busy machine a budget of 0.3 s would be over before every shard was heard.
                entry["user_config"] |= {"security": {"allow_no_keys": True}, "budget_s": 1.0}
        application["deployments"] = kept
        self.config_file.write_text(yaml.safe_dump(document))
        return read_for_serve(self.config_file).document

    def recsys(self, *arguments: object, on: int | None = None) -> str:
        """A command; `on`: the machine that it runs on, None: beside the cluster. Raises CalledProcessError."""
        command: Sequence[str] = [*_COMMAND, *map(str, arguments), "--config", str(self.config_file)]
        return subprocess.run(
            command if on is None else self.network.within(on, command), cwd=self._code,
            env={**os.environ, **self._variables(on or 0)},
            capture_output=True, text=True, check=True, timeout=300, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip

    def rollout(self) -> Rollout:
        """Serve's REST API, at the head."""
        head = f"http://{self.network.addresses[0]}:{_DASHBOARD}"
        return Rollout(head, self._token.read_text(), self._home(0) / "var" / "nodes")

    def places(self) -> dict[str, list[str]]:
        """Deployment -> the address of the machine of each running replica."""
        with self.rollout() as rollout:
            application = rollout.applications()["recsys"]
        return {
            name: [r["node_ip"] for r in deployment["replicas"] if r["state"] == "RUNNING"]
            for name, deployment in application["deployments"].items()
        }

    def alive(self) -> int:
        """The number of machines that Ray knows to be there."""
        url = f"http://{self.network.addresses[0]}:{_DASHBOARD}/api/v0/nodes"
        auth = {"Authorization": f"Bearer {self._token.read_text()}"}
        nodes = httpx.get(url, headers=auth, timeout=30, trust_env=False).json()["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" for node in nodes)

    def api(self, number: int) -> str:
        """The API of one machine."""
        return f"http://{self.network.addresses[number]}:{_API}"

    def whole(self) -> bool:
        """Whether every replica is there, each machine's entrance takes part, and answers are complete."""
        return not self.missing()

    def missing(self) -> str:
        """What is not there, in words."""
        try:
            running = {name: len(addresses) for name, addresses in self.places().items()}
            if running != REPLICAS:
                return f"replicas are {running}"
            with httpx.Client(timeout=5, trust_env=False) as http:
                for url in [self.api(number) for number in range(len(self.machines))]:
                    if (health := http.get(f"{url}/-/healthz")).status_code != 200:
                        return f"{url}: {health.text}"
                    answer = http.post(f"{url}/v1/search", json={"text": f"film {time.time()}"})
                    if answer.status_code != 200 or answer.json()["degraded"]:
                        return f"{url}: {answer.text[:300]}"
                status = http.get(f"{self.url}/v1/status").json()
        except (httpx.HTTPError, OSError, KeyError, ValueError, RecsysError) as error:
            return repr(error)
        shards = [len(shard["replicas"]) for shard in status["shards"]]
        return "" if shards == [REPLICAS["shard-0"], REPLICAS["shard-1"]] else f"shards are {shards}"

    def _head_listens(self) -> bool:
        """Whether others can join."""
        with closing(socket.socket()) as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.network.addresses[0], _GCS)) == 0
