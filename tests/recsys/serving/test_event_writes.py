"""Events over HTTP: their order, and what the answer says became of them."""

from __future__ import annotations

import httpx
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.serving import present_items
from recsys.serving.present_items import PresentItems
from recsys.state import redis_keys
from tests.support.world import catalogue, event


@pytest.fixture
async def http(make_world):
    world = await make_world(items=catalogue(3), shards=1)
    transport = httpx.ASGITransport(app=make_api(world.gateway, Gate(), Traces("r")))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def post(http: httpx.AsyncClient, *events: tuple[str, str], **given) -> dict:
    body = [{"event_id": e, "user_id": "u", "item_id": i, "type": "like"} | given for e, i in events]
    return (await http.post("/v1/events", json={"events": body})).json()


async def test_events_without_a_time_keep_the_order_of_their_call(http):
    """What was liked last is what stands last in the call, whatever the ids are."""
    sent = [("zz-1", "sea-0"), ("mm-2", "space-0"), ("aa-3", "forest-0")]
    await post(http, *sent)
    history = (await http.get("/v1/users/u")).json()["history"]
    assert [h["item_id"] for h in reversed(history)] == ["sea-0", "space-0", "forest-0"]


async def test_what_is_known_of_a_user_says_how_much_is_kept(http):
    """With fewer events than that, the history is whole."""
    await post(http, ("e1", "sea-0"))
    known = (await http.get("/v1/users/u")).json()
    assert (known["events"], known["history_limit"]) == (1, 1000)


async def test_what_became_of_the_events_is_told_apart(http):
    """Accepted, counted before, and too old to be taken: after an erasure the past is, and what comes now is not."""
    assert (await post(http, ("e1", "sea-0"), ("e1", "sea-0")))["duplicates"] == 1
    await http.delete("/v1/users/u")
    old = await post(http, ("e1", "sea-0"), timestamp="2020-01-01T00:00:00Z")
    assert (old["accepted"], old["duplicates"], old["too_old"]) == (0, 0, 1)
    new = await post(http, ("e2", "sea-0"))
    assert (new["accepted"], new["duplicates"], new["too_old"]) == (1, 0, 0)


async def test_profiles_can_be_left_for_later(make_world):
    """A history that is loaded in bulk leaves no profile behind, and the next recommendation knows it all the same."""
    world = await make_world(items=catalogue(3))
    app = httpx.ASGITransport(app=make_api(world.gateway, Gate(), Traces("r")))
    body = [{"event_id": "e1", "user_id": "late", "item_id": "sea-0", "type": "like"}]
    async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
        sent = await client.post("/v1/events", json={"events": body, "profiles": "later"})
        assert sent.json()["accepted"] == 1
        assert await world.redis.exists(redis_keys.profile("late")) == 0
        slate = (await client.get("/v1/users/late/recommendations?k=2")).json()
        assert {item["item_id"] for item in slate["items"]} == {"sea-1", "sea-2"}
        await client.post("/v1/events", json={"events": [body[0] | {"event_id": "e2", "user_id": "now"}]})
        assert await world.redis.exists(redis_keys.profile("now")) == 1
        assert (await client.post("/v1/events", json={"events": body, "profiles": "never"})).status_code == 422


async def test_a_history_that_is_loaded_in_bulk_asks_once_for_an_item(make_world, monkeypatch):
    """Items that were there a moment ago are not asked for again, and those that are not there are named each time."""
    world = await make_world(items=catalogue(3), shards=1)
    monkeypatch.setattr(present_items, "SURE_S", 3600.0)
    [shard] = world.clients
    asked: list[str] = []
    vectors = shard.vectors

    async def counting(version, item_ids):
        asked.extend(item_ids)
        return await vectors(version, item_ids)

    monkeypatch.setattr(shard, "vectors", counting)
    for n in range(3):
        body = [
            {"event_id": f"e{n}-{item}", "user_id": f"u{n}", "item_id": item, "type": "like"}
            for item in ("sea-0", "sea-1", "gone")
        ]
        app = httpx.ASGITransport(app=make_api(world.gateway, Gate(), Traces("r")))
        async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
            answer = (await client.post("/v1/events", json={"events": body, "profiles": "later"})).json()
        assert (answer["accepted"], answer["unknown_items"]) == (3, ["gone"])
    assert asked == ["sea-0", "sea-1", "gone", "gone", "gone"]
    await world.gateway.record([event("u0", "sea-0"), event("u0", "sea-2")])
    assert asked[5:] == ["sea-0", "sea-2"]  # whose profiles are made now needs the vectors


async def test_a_user_with_more_events_in_a_call_than_a_command_takes(make_world):
    """The script passes on some thousand arguments at a time; all events are there, and counted once."""
    world = await make_world(items=catalogue(3), shards=1)
    told = [event("many", f"i{n % 4000}", event_id=f"many-{n}") for n in range(9000)]
    assert (await world.gateway.record(told, fold=False)).accepted == 9000
    assert (await world.gateway.record(told[-500:], fold=False)).duplicates == 500
    [history] = await world.gateway.users.histories(["many"])
    assert [e.event_id for e in history] == [f"many-{n}" for n in range(8000, 9000)]


def test_items_that_were_there_are_forgotten_with_time(clock):
    """What is remembered follows the rate of events, and not the size of the catalogue."""
    present = PresentItems()
    assert present.unsure("v1", ["a", "b"]) == ["a", "b"]
    present.note("v1", ["a"])
    assert present.unsure("v1", ["a", "b"]) == ["b"]
    clock.forward(present_items.SURE_S + 1)
    assert present.unsure("v1", ["a", "b"]) == ["a", "b"]
    for n in range(20):
        clock.forward(present_items.SURE_S + 1)
        present.note("v1", [f"item-{n}"])
    assert len(present) <= 2
    present.note("v1", ["a"])
    assert present.unsure("v2", ["a"]) == ["a"]
