"""Versions over HTTP: listed with what was measured of them, promoted and rolled back by an admin."""

from __future__ import annotations

import httpx
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from tests.support.console import switching


@pytest.fixture
async def http(make_world):
    world = await make_world(shards=1)
    transport = httpx.ASGITransport(make_api(world.gateway, Gate(), Traces("r"), switching(world)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        http.world = world
        yield http


async def test_they_are_listed_newest_first_with_their_measurements(http):
    later = http.world.publish()
    versions = (await http.get("/v1/admin/versions")).json()["versions"]
    assert [one["served"] for one in versions] == [False, True]
    assert versions[0]["version"] == later.version
    assert versions[0]["recall_at_10"] == later.recall_at_10
    assert versions[0]["items"] == len(http.world.items)


async def test_one_is_promoted_and_rolled_back(http):
    before, later = http.world.store.current(), http.world.publish().version
    told = await http.post("/v1/admin/promote", json={"version": later})
    assert told.json() == {"version": later, "before": before}
    assert http.world.store.current() == later
    assert (await http.post("/v1/admin/rollback")).json() == {"version": before, "before": later}
    assert http.world.store.current() == before


async def test_what_cannot_be_served_is_refused_by_its_reason(http):
    unknown = await http.post("/v1/admin/promote", json={"version": "v1"})
    assert (unknown.status_code, unknown.json()["field"]) == (422, "version")
    back = await http.post("/v1/admin/rollback")
    assert (back.status_code, back.json()["code"]) == (409, "conflict")
    assert "no earlier version" in back.json()["detail"]
    tiny = http.world.publish(http.world.items[:5]).version
    assert (await http.post("/v1/admin/promote", json={"version": tiny})).status_code == 409
    allowed = {"version": tiny, "allow_shrink": True}
    assert (await http.post("/v1/admin/promote", json=allowed)).status_code == 200


async def test_an_api_that_cannot_switch_says_so(make_http):
    http = await make_http()
    later = http.world.publish().version
    answer = await http.post("/v1/admin/promote", json={"version": later})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
