"""What is compared, each started and stopped as processes of its own; one runs at a time."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
import yaml

from load_tests.comparison.bench import PORT, ROOT, Bench, wait_for
from load_tests.comparison.interactions import People

URL = f"http://127.0.0.1:{PORT}"
_STOP_WITHIN_S = 15.0


class Contender(Protocol):
    @property
    def name(self) -> str: ...

    needs: str
    """What of `prepare.KINDS` must be made before it starts; empty: nothing."""
    target: str
    """Path of a user's recommendations; USER stands for the user."""
    ef: int | None
    """Of its searches; None: the workload's."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def processes(self) -> list[psutil.Process]: ...


@dataclass
class Monolith:
    bench: Bench
    workers: int
    needs = "one"
    target = "/v1/users/USER/recommendations?k=10"
    ef: int | None = None
    _server: psutil.Popen | None = None

    @property
    def name(self) -> str:
        return f"monolith-{self.workers}"

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "--factory", "load_tests.comparison.baselines.monolith:create"]
        command += [f"--port={PORT}", "--host=127.0.0.1", f"--workers={self.workers}", "--no-access-log"]
        file = self.bench.folder / f"{self.name}.log"
        _needs_free_port()
        with file.open("wb") as log:
            self._server = psutil.Popen(
                command, cwd=ROOT, env=self.bench.environment(self.ef), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(f"{URL}/docs", 60, self._server, file)

    def stop(self) -> None:
        started = self.processes()
        for process in started[:1]:
            process.terminate()
        _, alive = psutil.wait_procs(started, _STOP_WITHIN_S)
        for process in alive:
            process.kill()
        self._server = None

    def processes(self) -> list[psutil.Process]:
        return [self._server, *self._server.children(recursive=True)] if self._server else []


@dataclass
class OnServe:
    """A Serve config file, in a cluster of its own."""

    bench: Bench
    name: str
    config: Callable[[Bench], dict[str, Any]]
    needs: str
    target: str
    stock: bool = False
    after_start: Callable[[Bench], None] = lambda _bench: None
    ef: int | None = None

    @property
    def home(self) -> Path:
        """The same for every workload, so that the next run finds and ends what an interrupted one left."""
        return self.bench.out / self.name

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        file = self.home / "config.yaml"
        file.write_text(yaml.safe_dump(self.settings()))
        self._cluster("down")  # what an interrupted run left
        self._cluster("up")
        self.after_start(self.bench)

    def settings(self) -> dict[str, Any]:
        """The Serve config file that it starts with."""
        config = self.config(self.bench)
        for deployment in config["applications"][0].get("deployments", []):
            if self.ef is not None and deployment["name"].startswith("shard-"):
                deployment["user_config"]["ef_search"] = self.ef
        return config

    def stop(self) -> None:
        self._cluster("down")

    def processes(self) -> list[psutil.Process]:
        state = yaml.safe_load((self.home / "run" / "instance.json").read_text())
        return [psutil.Process(pid) for pid in state["pids"] if psutil.pid_exists(pid)]

    def _cluster(self, action: str) -> None:
        command = [
            sys.executable,
            "-m",
            "load_tests.comparison.cluster",
            action,
            str(self.home),
            str(self.home / "config.yaml"),
        ]
        command += ["stock"] if self.stock else []
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.bench.environment(self.ef),
            capture_output=True,
            text=True,
            timeout=420,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {action} failed\n{done.stderr[-2000:]}")


def _needs_free_port() -> None:
    """Else another program's answers would be measured while ours dies of the port that it has not got."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not matter
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError as taken:
            raise SystemExit(f"port {PORT} is taken by another program, which must end first") from taken


def _serve_file(application: dict[str, Any]) -> dict[str, Any]:
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": PORT},
        "logging_config": {"enable_access_log": False},
        "applications": [{"name": "bench", "route_prefix": "/", **application}],
    }


def _platform(bench: Bench) -> dict[str, Any]:
    return bench.platform_config()


def _trained(bench: Bench) -> dict[str, Any]:
    return bench.trained_config()


def _naive(bench: Bench) -> dict[str, Any]:
    args = {"data_dir": str(bench.split), "redis_url": bench.redis_url, "shards": bench.work.shards}
    return _serve_file({"import_path": "load_tests.comparison.baselines.naive_serve:build", "args": args})


def _noop(builder: str) -> Callable[[Bench], dict[str, Any]]:
    path = f"load_tests.comparison.baselines.noop_serve:{builder}"
    return lambda bench: _serve_file({"import_path": path, "args": {"redis_url": bench.redis_url}})


def _tell_likes(bench: Bench) -> None:
    _tell(bench, "recsys", bench.work.events())


def _tell_interactions(bench: Bench) -> None:
    _tell(bench, "trained", People(bench.work).events(time.time()))


def _tell(bench: Bench, name: str, bodies: Iterator[list[dict[str, Any]]]) -> None:
    """The users' events through the platform's own API; Redis keeps them for later starts."""
    if name in bench.told:
        return
    with httpx.Client(base_url=URL, timeout=60, trust_env=False) as client:
        for events in bodies:
            answer = client.post("/v1/events", json={"events": events})
            answer.raise_for_status()
            if answer.json()["refused"] or answer.json()["unknown_items"]:
                raise SystemExit(f"the platform refused events: {answer.text[:500]}")
    bench.told.add(name)


def contenders(bench: Bench, only: list[str]) -> list[Contender]:
    """Those that are named, or whose name begins with a given one and a dash; all for none."""
    plain = "/v1/users/USER/recommendations?k=10"
    ours = f"{plain}&include_seen=true"
    every: list[Contender] = [
        # The contenders know of no seen items, so the platform leaves none out either.
        OnServe(bench, "recsys", _platform, "platform", ours, after_start=_tell_likes),
        OnServe(bench, "trained", _trained, "trained", ours, after_start=_tell_interactions),
        Monolith(bench, 1),
        Monolith(bench, 2),
        OnServe(bench, "noop", _noop("build"), "", plain),
        OnServe(bench, "noop-bare", _noop("build_bare"), "", "/"),
        OnServe(bench, "echo", _noop("build_echo"), "", "/"),
        OnServe(bench, "naive", _naive, "shards", plain, stock=True),
    ]
    return [c for c in every if not only or any(c.name == name or c.name.startswith(f"{name}-") for name in only)]
