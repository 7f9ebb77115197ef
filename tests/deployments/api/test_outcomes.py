"""From an answer over HTTP to what came of it: the report, its parameters, and a user who is erased."""

from __future__ import annotations

import time

import pytest

from deployments.api.access import scope_of
from tests.support.slate_log import collect, rows

pytestmark = pytest.mark.usefixtures("short_slots")


async def shown(http, user="u", **query):
    """An answer and its request_id, once it is in the log."""
    slate = (await http.get(f"/v1/users/{user}/recommendations", params={"k": 4, **query})).json()
    await http.world.gateway.answers.step()
    return slate


async def tell(http, slate, *deeds, user="u"):
    """Events about items of the answer: (place from 0, type, value)."""
    events = [
        {
            "event_id": f"{slate['request_id']}-{kind}-{place}", "user_id": user, "type": kind, "value": value,
            "item_id": slate["items"][place]["item_id"], "request_id": slate["request_id"],
        }
        for place, kind, value in deeds
    ]  # fmt: skip
    answer = await http.post("/v1/events", json={"events": events})
    assert answer.json()["accepted"] == len(events), answer.text


async def test_what_came_of_answers_is_reported(make_http):
    """Of every call that answers with items, joined by the request_id of the answer."""
    http = await make_http()
    world, start = http.world, time.time()
    slate = await shown(http)
    await tell(http, slate, (0, "impression", None), (1, "impression", None), (1, "click", None), (1, "purchase", 12.5))
    await http.post("/v1/search", json={"text": "sea wave", "k": 2}, headers={"x-request-id": "mine"})
    await http.get("/v1/items/sea-1/similar")
    await http.post("/v1/rank", json={"items": ["sea-1", "sea-2"]})
    await http.post("/v1/recommendations", json={"k": 2})
    await world.gateway.answers.step()
    await collect(world.redis, world.gateway.log_files)
    answer = await http.get("/v1/metrics/outcomes", params={"by": "scenario", "from": start - 1})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    groups = {group["scenario"]: group for group in report["groups"]}
    assert {name: group["answers"] for name, group in groups.items()} == {
        "home": 2,
        "search": 1,
        "similar": 1,
        "rank": 1,
    }
    home = groups["home"]
    assert (home["items"], home["impressions"], home["clicks"], home["conversions"]) == (6, 2, 1, 1)
    assert (home["value"], home["value_per_answer"], home["click_through_seen"]) == (12.5, 6.25, 0.5)
    assert report["total"]["answers"] == 5
    assert (report["unknown"], report["untimely"], report["elsewhere"], report["lost_answers"]) == (0, 0, 0, 0)
    assert "mine" in {row["request_id"] for row in rows(world.gateway.log_files, "answers")}


async def test_a_wrong_parameter_is_named(make_http, subtests):
    http = await make_http()
    for params, field in (
        ({"by": "colour"}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"from": 200, "to": 100}, "from"),
        ({"window_s": 0}, "window_s"),
        ({"hours": 3}, "hours"),
    ):
        with subtests.test(params=params):
            answer = await http.get("/v1/metrics/outcomes", params=params)
            assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_an_impression_needs_the_answer_that_it_is_of(make_http):
    """By itself it would say nothing; the others of the call are taken."""
    http = await make_http()
    events = [
        {"event_id": f"e{n}", "user_id": "u", "item_id": "sea-1", "type": kind}
        for n, kind in enumerate(("impression", "view"))
    ]
    answer = (await http.post("/v1/events", json={"events": events})).json()
    assert (answer["accepted"], answer["refused"][0]["field"]) == (1, "request_id")
    assert "an event of type impression says what came of an answer" in answer["refused"][0]["message"]


async def test_nobody_can_say_whose_rows_an_erased_users_are(make_http):
    """The files stay, and count as before; neither they nor Redis lead from the rows to the user, or the other way."""
    http = await make_http()
    world = http.world
    slate = await shown(http, user="somebody-known")
    await tell(http, slate, (0, "click", None), user="somebody-known")
    await collect(world.redis, world.gateway.log_files)
    [logged], [outcome] = rows(world.gateway.log_files, "answers"), rows(world.gateway.log_files, "outcomes")
    assert logged["user"] == outcome["user"]
    await http.delete("/v1/users/somebody-known")
    await shown(http, user="somebody-known")
    await collect(world.redis, world.gateway.log_files)
    later = rows(world.gateway.log_files, "answers")[-1]
    assert later["user"] not in {logged["user"], None}
    for key in await world.redis.keys("*"):
        stored = await world.redis.get(key) if await world.redis.type(key) == b"string" else b""
        assert bytes.fromhex(logged["user"]) not in stored
    for kind in ("answers", "outcomes"):
        assert "somebody-known" not in str(rows(world.gateway.log_files, kind))
    report = (await http.get("/v1/metrics/outcomes")).json()
    assert (report["total"]["answers"], report["total"]["clicks"]) == (2, 1)


def test_reports_are_for_admins():
    """What is sold is not for whoever may ask for recommendations."""
    assert scope_of("GET", "/v1/metrics/outcomes") == "admin"


async def test_answers_of_who_only_looks_are_not_logged(make_http):
    """Where an operator asks why, no shop has shown anything."""
    http = await make_http()
    for path, body in (("recommendations", {}), ("search", {"text": "sea"}), ("rank", {"items": ["sea-1"]})):
        answer = await http.post(f"/v1/{path}", json={**body, "log": False})
        assert answer.json()["request_id"], answer.text
    await http.get("/v1/items/sea-1/similar?log=false")
    slate = await shown(http)
    await collect(http.world.redis, http.world.gateway.log_files)
    assert [row["request_id"] for row in rows(http.world.gateway.log_files, "answers")] == [slate["request_id"]]
