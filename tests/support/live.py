"""The one real platform of a test session: Ray, HAProxy, Valkey and the encoder, on ports of their own."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
import psutil
import yaml

from deployments.cli import main
from deployments.machine.instance import Instance
from deployments.machine.processes import processes_named
from deployments.machine.rollout import Rollout
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from recsys.config.platform import Ports
from recsys.data.movielens import Ml100k
from tests.support import ports

REPOSITORY = Path(__file__).parents[2]
LOCAL = REPOSITORY / "configs" / "local.yaml"
COMMAND = (sys.executable, "-c", "from deployments.cli import main; main()")

ASKING = {"apply", "hold", "promote", "release", "report", "rollback", "scale", "status", "versions"}
ASKING |= {"batch", "embed", "import"}
"""Commands that compute nothing, but ask the platform and Redis, read files, and start jobs in processes of their own.
"""
LIGHT = {"--dry-run", "--from-live"}
"""What makes others so light: they plan only, or encode nothing."""

T = TypeVar("T")


@dataclass(frozen=True)
class Live:
    """A platform that runs."""

    config: Path
    instance: Instance
    runtime: Runtime
    data: Ml100k
    http: httpx.Client

    def processes(self, marker: str = "") -> list[psutil.Process]:
        """Of this platform and no other, with `marker` in their command line."""
        return processes_named(self.instance.id, marker)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        return self.processes(f"ServeReplica:recsys:{deployment}")

    def valkey(self) -> psutil.Process:
        [found] = [p for p in self.processes() if p.name().startswith("valkey")]
        return found

    def rollout(self) -> Rollout:
        return Rollout(self.instance.dashboard_url, self.instance.token, self.instance.log_dir / "ray")

    def reconfigure(self, part: str, **settings: Any) -> None:
        """The config file with other settings in a part of the composer's `user_config`, live: no replica restarts."""
        config = deepcopy(read_for_serve(self.config).document)
        [composer] = [d for d in config["applications"][0]["deployments"] if d["name"] == "Composer"]
        composer["user_config"][part] |= settings
        with self.rollout() as rollout:
            rollout.submit(config)

    def recsys(self, *arguments: object) -> str:
        """The standard output of the `recsys` command, which must succeed. Those of `ASKING` and `LIGHT` run in this
        process: to start another one and import everything again takes longer than they do.
        """
        here = arguments[0] in ASKING or not LIGHT.isdisjoint(arguments)
        return (recsys_here if here else recsys)(self.config, *arguments)

    def status(self) -> dict[str, Any]:
        return self.json("GET", "/v1/status")

    def json(self, method: str, path: str, body: object = None, **query: Any) -> dict[str, Any]:
        """The answer to a call that must succeed."""
        answer = self.http.request(method, path, json=body, params=query)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def recommend(self, user_id: str | None, **body: Any) -> list[dict[str, Any]]:
        """The items of a complete answer."""
        slate = self.json("POST", "/v1/recommendations", {"user_id": user_id, **body})
        assert slate["degraded"] == []
        return list(slate["items"])

    def like(self, user_id: str, item_id: str) -> None:
        answer = self.json("POST", "/v1/events", {"events": [event(user_id, item_id)]})
        assert (answer["accepted"], answer["refused"]) == (1, [])


def recsys(config: Path, *arguments: object) -> str:
    """The standard output of the `recsys` command, which must succeed."""
    command = [*COMMAND, *map(str, arguments), "--config", str(config)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or "--json" not in arguments, done.stderr
    return done.stdout


def recsys_here(config: Path, *arguments: object) -> str:
    """As `recsys`, in this process."""
    code, out, error = _here(config, *arguments)
    assert code == 0, error
    assert error == "" or "--json" not in arguments, error
    return out


def refused_here(config: Path, *arguments: object) -> str:
    """What the `recsys` command, in this process, says on the standard error when it refuses."""
    code, out, error = _here(config, *arguments)
    assert (code, out) == (1, ""), error
    return error


def _here(config: Path, *arguments: object) -> tuple[Any, str, str]:
    """The exit code, the standard output and the standard error."""
    out, error, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["recsys", *map(str, arguments), "--config", str(config)]
    try:
        with redirect_stdout(out), redirect_stderr(error), warnings.catch_warnings(action="ignore"):
            main()
        code: Any = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    return code, out.getvalue(), error.getvalue()


def event(user_id: str, item_id: str, **more: Any) -> dict[str, Any]:
    """A like that was never sent before."""
    return {"event_id": uuid.uuid4().hex, "user_id": user_id, "item_id": item_id, "type": "like"} | more


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["item_id"] for item in items]


def eventually(test: Callable[[], T], within_s: float = 180.0, every_s: float | None = None) -> T:
    """Asks until the answer is true; the last answer where it never is, for the caller to assert. On a slow machine a
    replica takes a minute to start, and who asked for it ten times a second would take the time that it needs: pauses
    grow to a third of a second. `every_s`: where something is there for a moment only.
    """
    start = time.monotonic()
    while not (answer := test()) and (waited := time.monotonic() - start) < within_s:
        time.sleep(every_s or min(max(waited / 10, 0.05), 0.35))
    return answer


def free_ports() -> dict[str, int]:
    """For each use of `Ports`, and `http`."""
    uses = (*Ports.model_fields, "http")
    return dict(zip(uses, ports.free_ports(len(uses)), strict=True))


def local_config(file: Path, **args: Any) -> Path:
    """A copy of configs/local.yaml with other `args`, and any `http_port` and `budget_s`; it names all shards."""
    known = yaml.load(LOCAL.read_text(), yaml.CSafeLoader)  # a tenth of the time of `safe_load`
    known["http_options"]["port"] = args.pop("http_port", known["http_options"]["port"])
    [application] = known["applications"]
    composer = next(d for d in application["deployments"] if d["name"] == "Composer")
    composer["user_config"]["budget_s"] = args.pop("budget_s", composer["user_config"]["budget_s"])
    application["args"] |= args
    parts = application["deployments"]
    shard = next(part for part in parts if part["name"] == "shard-0")
    shards = [shard | {"name": f"shard-{number}"} for number in range(application["args"]["shards"])]
    application["deployments"] = [part for part in parts if not part["name"].startswith("shard-")] + shards
    file.write_text(yaml.dump(known, Dumper=yaml.CSafeDumper))
    return file


def ratings(data: Ml100k) -> dict[str, dict[str, float]]:
    """User -> item -> stars, read from the file and not from the platform."""
    found: dict[str, dict[str, float]] = {}
    for line in data.events_file.read_bytes().splitlines():
        rated = orjson.loads(line)
        found.setdefault(rated["user_id"], {})[rated["item_id"]] = rated["value"]
    return found


def films(data: Ml100k) -> dict[str, dict[str, Any]]:
    """item_id -> the film as the file has it."""
    return {film["item_id"]: film for film in map(orjson.loads, data.items_file.read_bytes().splitlines())}
