"""Experiments over HTTP, from start to verdict."""

from __future__ import annotations

import asyncio

import pytest

from deployments.api.access import scope_of
from tests.support.slate_log import collect

pytestmark = pytest.mark.usefixtures("short_slots")
PATH = "/v1/admin/experiments"
FOREST = {"must": [{"key": "topic", "eq": "forest"}]}
SEA = {"must": [{"key": "topic", "eq": "sea"}]}
WOODS = {
    "name": "woods",
    "variants": {"control": {"settings": {"filter": SEA}}, "b": {"settings": {"filter": FOREST}}},
    "share": 0.5,
}


async def start(http, experiment=WOODS, **more):
    return await http.post(PATH, json={"scenario": "home", "experiment": experiment, **more})


async def visits(http, users, likes="forest"):
    """Each user looks once, and clicks on the first item if it is of the topic."""

    async def visit(user):
        slate = (await http.get(f"/v1/users/{user}/recommendations", params={"k": 4})).json()
        first = slate["items"][0]["item_id"]
        if first.startswith(likes):
            click = {"event_id": f"e-{user}", "user_id": user, "item_id": first, "type": "click"}
            await http.post("/v1/events", json={"events": [{**click, "request_id": slate["request_id"]}]})

    for first in range(0, len(users), 40):
        await asyncio.gather(*map(visit, users[first : first + 40]))
    await http.world.gateway.answers.step()
    await collect(http.world.redis, http.world.gateway.log_files)


async def test_an_experiment_from_start_to_verdict(make_http):
    """Started, read, widened and stopped; the winner's settings stay, and its report can be read for ever."""
    http = await make_http()
    begun = (await start(http, author="ann")).json()
    assert (begun["name"], begun["scenario"], begun["author"], begun["ended_at"]) == ("woods", "home", "ann", None)
    assert begun["users_needed"] is None
    wider = (await http.patch(f"{PATH}/woods", json={"share": 1.0})).json()
    assert wider["experiment"]["share"] == 1.0
    await visits(http, [f"u{n}" for n in range(240)])
    report = (await http.get(f"{PATH}/woods")).json()
    assert {one["variant"]: one["users"] for one in report["variants"]}.keys() == {"control", "b"}
    assert sum(one["users"] for one in report["variants"]) == 240
    [one] = report["compared"]
    assert one["variant"] == "b"
    assert one["verdict"] == ("better" if one["difference"] else "too_few_users")
    ended = (await http.post(f"{PATH}/woods/stop", json={"keep": "b", "reason": "people like woods"})).json()
    assert (ended["reason"], ended["kept"]) == ("people like woods", "b")
    slate = (await http.get("/v1/users/anybody/recommendations", params={"k": 8})).json()
    assert {item["item_id"].partition("-")[0] for item in slate["items"]} == {"forest"}
    assert (await http.get(f"{PATH}/woods")).json()["variants"] == report["variants"]
    [listed] = (await http.get(PATH)).json()["experiments"]
    assert listed["name"] == "woods"


async def test_what_cannot_be_started_is_refused(make_http):
    """With the field: an unknown scenario, a wrong setting of a variant, a used name, a scenario that has one."""
    http = await make_http()
    unknown = await http.post(PATH, json={"scenario": "nowhere", "experiment": WOODS})
    assert (unknown.status_code, unknown.json()["field"]) == (422, "scenario")
    wrong = await start(http, {**WOODS, "variants": {"a": {}, "b": {"settings": {"divers": 1}}}})
    assert wrong.status_code == 422
    assert wrong.json()["field"].endswith("divers")
    assert (await start(http, dry_run=True)).json()["dry_run"] is True
    assert (await http.get(PATH)).json()["experiments"] == []
    assert (await start(http)).status_code == 200
    again = await start(http)
    assert (again.status_code, again.json()["field"]) == (409, "scenario")
    other = await start(http, {**WOODS, "name": "other"})
    assert (other.status_code, other.json()["field"]) == (409, "scenario")
    narrower = await http.patch(f"{PATH}/woods", json={"share": 0.2})
    assert (narrower.status_code, narrower.json()["field"]) == (422, "share")
    await http.post(f"{PATH}/woods/stop", json={})
    used = await start(http)
    assert (used.status_code, used.json()["field"]) == (409, "name")
    assert (await http.get(f"{PATH}/nothing")).status_code == 404
    assert (await http.post(f"{PATH}/woods/stop", json={})).status_code == 404


async def test_an_estimate_without_drawn_places_is_refused(make_http):
    http = await make_http()
    told = (await http.get("/v1/admin/off-policy", params={"temperature": 0.5})).json()
    assert all("temperature" in one["refused"] for one in told["estimates"].values())


async def test_an_experiment_of_the_settings_has_a_record(make_http):
    """One that an edit of scenarios has started is listed and read like any other."""
    http = await make_http()
    await http.patch("/v1/admin/scenarios", json={"scenarios": {"home": {"experiment": WOODS}}})
    assert (await http.get(f"{PATH}/woods")).json()["author"] == "settings"


def test_all_of_it_needs_an_admin_key():
    for method, path in (("GET", PATH), ("POST", PATH), ("PATCH", f"{PATH}/x"), ("GET", "/v1/admin/off-policy")):
        assert scope_of(method, path) == "admin"
