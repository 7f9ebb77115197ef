"""Answers of one version, or of one variant, whoever asks: what the console's two columns are made of."""

from __future__ import annotations

from typing import Any

import pytest

from recsys.config.canary import Canary
from recsys.jobs.canary import begin
from recsys.serving.canary_guard import CanaryGuard
from recsys.versions.build import Content
from tests.support.people import build
from tests.support.world import eventually

SEA, FOREST = ({"must": [{"key": "topic", "eq": topic}]} for topic in ("sea", "forest"))
WOODS = {
    "name": "woods",
    "variants": {"sea": {"settings": {"filter": SEA}}, "forest": {"settings": {"filter": FOREST}}},
}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/recommendations", {"user_id": "u", "k": 4}),
    ("POST", "/v1/search", {"text": "oak sail", "k": 4}),
]


def topics(answer: dict[str, Any]) -> set[str]:
    return {item["item_id"].partition("-")[0] for item in answer["items"]}


@pytest.mark.parametrize(("scenario", "call"), [("home", CALLS[0]), ("search", CALLS[1])])
async def test_each_variant_answers_whoever_asks(make_http, scenario, call):
    """Also for users who are outside the experiment; none of it is logged."""
    http = await make_http()
    experiment = {**WOODS, "share": 0.001}
    await http.post("/v1/admin/experiments", json={"scenario": scenario, "experiment": experiment})
    assert (await http.get("/v1/platform")).json()["variants"] == {scenario: ["woods/sea", "woods/forest"]}
    waiting = len(http.world.gateway.answers)
    method, path, body = call
    for topic in ("sea", "forest"):
        answer = (await http.request(method, path, json={**body, "variant": f"woods/{topic}"})).json()
        assert (topics(answer), answer["scenario"]) == ({topic}, scenario)
    assert len(http.world.gateway.answers) == waiting
    await http.post("/v1/admin/experiments/woods/stop", json={})
    gone = await http.request(method, path, json={**body, "variant": "woods/sea"})
    assert (gone.status_code, gone.json()["field"]) == (422, "variant")
    assert (await http.get("/v1/platform")).json()["variants"] == {}


async def test_similar_items_are_those_of_a_variant_too(make_http):
    http = await make_http()
    await http.post("/v1/admin/experiments", json={"scenario": "similar", "experiment": WOODS})
    for topic in ("sea", "forest"):
        found = await http.get("/v1/items/space-1/similar", params={"k": 4, "variant": f"woods/{topic}"})
        assert topics(found.json()) == {topic}


async def test_each_version_that_the_shards_hold_answers_whoever_asks(make_http):
    """The served one, and the one that goes out to a part of the users; no other."""
    http = await make_http(shards=2)
    world = http.world
    base, new = world.follower.serve.version, build(world.store).publish(Content(world.items)).version
    refused = await http.post("/v1/recommendations", json={"version": new})
    assert (refused.status_code, refused.json()["field"]) == (422, "version")
    assert base in refused.json()["detail"]
    await begin(world.store, new, world.platform, world.redis, Canary(steps=(0.3,)))
    guard = CanaryGuard(world.redis, world.store, world.platform, world.follower, world.gateway)

    async def out() -> bool:
        await guard.step()
        return world.follower.canary is not None and world.follower.canary.share == 0.3

    assert await eventually(out)
    served = (await http.get("/v1/platform")).json()["versions"]
    assert served == [{"version": base, "share": pytest.approx(0.7)}, {"version": new, "share": 0.3}]
    waiting = len(world.gateway.answers)
    for version in (base, new):
        for user in ("ann", "bob", "cem", None):
            for body, path in (({}, "/v1/recommendations"), ({"text": "oak"}, "/v1/search")):
                answer = (await http.post(path, json={**body, "user_id": user, "version": version})).json()
                assert (answer["index_version"], answer["degraded"]) == (version, [])
        similar = await http.get("/v1/items/sea-1/similar", params={"version": version})
        assert similar.json()["index_version"] == version
    assert len(world.gateway.answers) == waiting


async def test_what_is_of_the_users_own_answer_is_refused_beside_it(make_http, subtests):
    http = await make_http()
    for given in ({"page": "first"}, {"explain": "full"}, {"why_not": ["sea-1"]}):
        for choice in ({"variant": "woods/sea"}, {"version": "v1"}):
            with subtests.test(**given, **choice):
                answer = await http.post("/v1/recommendations", json={**given, **choice})
                assert (answer.status_code, answer.json()["field"]) == (422, next(iter(given)))
