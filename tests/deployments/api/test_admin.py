"""Calls that scale are for who has the admin scope, or for this machine alone where no keys are asked for."""

from __future__ import annotations

import copy
import json
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deployments.api import admin, problems
from deployments.machine import config_change
from deployments.machine.config_change import rescale
from deployments.machine.live_scaling import Bounds, bound, running_config
from recsys.access.gate import Gate
from recsys.config.security import Security
from recsys.errors import RuntimeFailure


def client(monkeypatch: pytest.MonkeyPatch, host: str | None, gate: Gate | None = None) -> TestClient:
    """Of the admin calls, before a Serve that says that it listens there and takes any config."""

    class Serve:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...
        def details(self) -> dict[str, object]:
            return {"http_options": {"host": host} if host else None, "applications": {}}

    monkeypatch.setattr(admin, "Rollout", Serve)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    app = FastAPI()
    app.include_router(admin.router(gate or Gate(), Path(tempfile.mkdtemp())))
    problems.install(app)
    return TestClient(app)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "::", None])
def test_beyond_loopback_they_are_closed(monkeypatch, host):
    caller = client(monkeypatch, host)
    assert caller.get("/v1/admin/deployments").status_code == 403
    body = {"deployment": "shard-0", "min_replicas": 1, "max_replicas": 1}
    assert caller.post("/v1/admin/scale", json=body).status_code == 403
    assert caller.post("/v1/admin/hold", json={"held": True}).json()["code"] == "forbidden"


def test_on_loopback_they_are_open(monkeypatch):
    assert client(monkeypatch, "127.0.0.1").get("/v1/admin/deployments").json() == {"deployments": []}


async def test_where_keys_are_asked_for_they_are_open_beyond_loopback(monkeypatch):
    """The outermost layer has asked for the scope by then, see test_access."""
    monkeypatch.setenv(
        "RECSYS_API_KEYS", json.dumps({"keys": [{"name": "a", "sha256": "0" * 64, "scopes": ["admin"]}]})
    )
    gate = Gate()
    await gate.configure(Security())
    assert not gate.open
    assert client(monkeypatch, "0.0.0.0", gate).get("/v1/admin/deployments").status_code == 200


def test_without_serves_rest_api_they_are_unavailable(monkeypatch, tmp_path):
    caller = client(monkeypatch, "127.0.0.1")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert caller.get("/v1/admin/deployments").status_code == 503


class Controller:
    """Serve as its REST API shows it: takes a whole config over at its next turn, and has no compare-and-set."""

    def __init__(self, *names: str) -> None:
        self._lock = threading.Lock()
        deployments = [{"name": n, "autoscaling_config": {"min_replicas": 1, "max_replicas": 1}} for n in names]
        self._config = {"applications": [{"name": "recsys", "deployments": deployments}]}

    def details(self):
        with self._lock:
            [application] = copy.deepcopy(self._config["applications"])
        time.sleep(0.02)  # what was read is old by now
        deployments = {
            d["name"]: {
                "replicas": [],
                "target_num_replicas": 1,
                "deployment_config": {"autoscaling_config": d["autoscaling_config"]},
            }
            for d in application["deployments"]
        }
        return {"applications": {"recsys": {"deployed_app_config": application, "deployments": deployments}}}

    def submit(self, config) -> None:
        with self._lock:
            self._config = copy.deepcopy(config)

    def bounds(self):
        found = running_config(self.details())["applications"][0]["deployments"]
        return {d["name"]: d["autoscaling_config"]["max_replicas"] for d in found}


def test_of_calls_at_the_same_moment_none_is_lost(tmp_path):
    """Each reads, changes and submits the whole config: they take turns."""
    names = [f"shard-{n}" for n in range(3)]
    serve = Controller(*names)

    def call(place: int) -> None:
        rescale(serve, lambda config: bound(config, names[place], Bounds(1, 2 + place)), tmp_path)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(call, range(3)))
    assert serve.bounds() == {"shard-0": 2, "shard-1": 3, "shard-2": 4}


def test_a_change_that_somebody_undid_is_made_again(tmp_path, monkeypatch):
    """By a caller of another machine, who had read the config before and knows nothing of the lock."""
    monkeypatch.setattr(config_change, "TAKEN_OVER_S", 0.2)
    serve = Controller("shard-0", "shard-1")
    theirs = bound(running_config(serve.details()), "shard-1", Bounds(1, 7))
    plain, submitted = serve.submit, []

    def submit(config) -> None:
        submitted.append(config)
        plain(config)
        if len(submitted) == 1:
            plain(theirs)

    serve.submit = submit
    rescale(serve, lambda config: bound(config, "shard-0", Bounds(1, 5)), tmp_path)
    assert serve.bounds() == {"shard-0": 5, "shard-1": 7}


def test_a_change_that_serve_never_takes_over_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(config_change, "TAKEN_OVER_S", 0.0)
    serve = Controller("shard-0")
    serve.submit = lambda config: None
    with pytest.raises(RuntimeFailure, match="did not take the change over"):
        rescale(serve, lambda config: bound(config, "shard-0", Bounds(1, 2)), tmp_path)
