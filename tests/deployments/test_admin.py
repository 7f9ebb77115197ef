"""Calls that scale are for this machine alone while nobody asks for keys."""

from __future__ import annotations

from typing import Self

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deployments.api import admin, problems


def client(monkeypatch: pytest.MonkeyPatch, host: str | None) -> TestClient:
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
    app.include_router(admin.router())
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


def test_without_serves_rest_api_they_are_unavailable(monkeypatch, tmp_path):
    caller = client(monkeypatch, "127.0.0.1")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert caller.get("/v1/admin/deployments").status_code == 503
