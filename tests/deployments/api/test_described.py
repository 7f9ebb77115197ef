"""What a client learns of the platform, and of its own key."""

from __future__ import annotations

import json

import httpx
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.api_keys import new_key
from recsys.access.gate import Gate
from recsys.config.security import Security
from tests.support.world import event


async def test_it_names_what_is_declared(make_http):
    http = await make_http(context={"device": "keyword"})
    told = (await http.get("/v1/platform")).json()
    assert told["attributes"] == http.world.platform.attributes
    assert told["context"] == {"device": "keyword"}
    assert told["scenarios"]["search"] == "search"
    assert told["event_types"]["like"]["weight"] == 1.0
    assert told["index_version"] == http.world.store.current()
    assert (told["open"], told["scopes"]) == (True, ["admin", "read", "write"])


async def test_the_links_are_those_that_are_known(make_http, monkeypatch):
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.delenv("RAY_GRAFANA_HOST", raising=False)
    http = await make_http()
    assert (await http.get("/v1/platform")).json()["links"] == {"dashboard": "http://127.0.0.1:8265"}


async def test_a_key_is_told_what_it_may_do(make_http, monkeypatch):
    key, digest = new_key()
    entry = {"name": "shop", "sha256": digest, "scopes": ["read"]}
    monkeypatch.setenv("RECSYS_API_KEYS", json.dumps({"keys": [entry]}))
    gate = Gate()
    await gate.configure(Security())
    world = (await make_http()).world
    transport = httpx.ASGITransport(make_api(world.gateway, gate, Traces("r")))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
        assert (await asking.get("/v1/platform")).status_code == 401
        told = (await asking.get("/v1/platform", headers={"x-api-key": key})).json()
        assert (told["open"], told["scopes"]) == (False, ["read"])
        for path in ("/v1/admin/users", "/v1/admin/versions"):
            assert (await asking.get(path, headers={"x-api-key": key})).status_code == 403
        assert (await asking.get("/console")).status_code == 200


@pytest.mark.parametrize("limit", [1, 2])
async def test_users_who_came_last_are_told_newest_first(make_http, limit):
    http = await make_http()
    for user in ("a", "b", "c"):
        await http.world.gateway.record([event(user, "sea-1")])
        await http.get(f"/v1/users/{user}/recommendations")
    assert (await http.get("/v1/admin/users", params={"limit": limit})).json() == {"users": ["c", "b", "a"][:limit]}
