"""Calls that scale are for who has the admin scope, or for this machine alone where no keys are asked for."""

from __future__ import annotations

import json
from typing import Self

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deployments.api import admin, problems
from recsys.access import Gate
from recsys.config import Security


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
    app.include_router(admin.router(gate or Gate()))
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
