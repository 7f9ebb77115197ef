"""The order of item writes: as their callers made them, or by the callers' own numbers."""

from __future__ import annotations

import asyncio

import pytest

from recsys.datatypes import Item
from recsys.errors import Conflict
from recsys.serving.item_calls import Written
from recsys.serving.item_writes import ItemWriter
from recsys.state.item_log import Delete, ItemLog, Upsert


def writer(world) -> ItemWriter:
    """As the gateway has one."""
    return ItemWriter(world.redis, world.follower.layouts, lambda: world.follower.serve.layout.id, kept_s=100)


async def entries(world) -> list[str]:
    """Titles in the log's order; `-` for a delete."""
    read = await ItemLog(world.redis).read(0, "0-0", limit=10_000)
    return [e.change.item.title if isinstance(e.change, Upsert) else "-" for e in read if e.change is not None]


async def test_a_write_that_comes_late_to_the_log_does_not_replace_a_later_one(make_world):
    """Its text takes long to encode, its caller gives up and writes anew: what was acknowledged last stays."""
    world = await make_world(shards=1)
    encode, encoding, go_on = world.encode, asyncio.Event(), asyncio.Event()

    async def slowly(version, texts):
        encoding.set()
        await go_on.wait()
        return await encode(version, texts)

    world.encode = slowly
    late = asyncio.create_task(world.gateway.items.upsert([Item("a", "old"), Item("b", "b")], wait_visible=False))
    await encoding.wait()
    world.encode = encode
    [newer] = await world.gateway.items.upsert([Item("a", "new")], wait_visible=False)
    assert isinstance(newer, Written)
    go_on.set()
    conflict, other = await late
    assert isinstance(conflict, Conflict)
    assert isinstance(other, Written)
    assert await entries(world) == ["new", "b"]


@pytest.mark.parametrize("first", ["upsert", "delete"])
async def test_deletes_are_part_of_the_order(make_world, first):
    """An upsert does not bring back what was deleted after it began, nor a delete take what was put."""
    world = await make_world(shards=1)
    items = writer(world)
    ticket = await items.ticket()
    if first == "upsert":
        await world.gateway.items.delete("sea-1", wait_visible=False)
        vectors = await world.encode(world.follower.serve.version, ["sea"])
        logged = await items.upsert([Item("sea-1", "back")], vectors, world.follower.serve.fingerprint, ticket)
        assert await entries(world) == ["-"]
    else:
        await world.gateway.items.upsert([Item("sea-1", "new")], wait_visible=False)
        logged = await items.delete("sea-1", ticket)
        assert await entries(world) == ["new"]
    assert isinstance(logged.items[0], Conflict)
    assert logged.newest == {}


async def test_a_call_that_is_sent_again_is_taken_again(make_world):
    """As redis-py does when the answer is lost: the same ticket and the same items are no conflict."""
    world = await make_world(shards=1)
    items = writer(world)
    ticket = await items.ticket()
    for _ in range(2):
        logged = await items.delete("sea-1", ticket)
        assert not isinstance(logged.items[0], Conflict)
    twice = [Item("a", "one"), Item("a", "two")]
    assert all(isinstance(w, Written) for w in await world.gateway.items.upsert(twice, wait_visible=False))
    assert await entries(world) == ["-", "-", "one", "two"]


async def test_a_ticket_is_forgotten_soon_and_a_number_late(make_world):
    """Memory: what orders calls that are under way goes at once, what callers number after 400 days."""
    world = await make_world(shards=1)
    await world.gateway.items.upsert([Item("a", "x")], wait_visible=False, version=5)
    await world.gateway.items.upsert([Item("b", "x")], wait_visible=False)
    assert 60 < await world.redis.ttl("recsys:written:a") <= 200
    assert await world.redis.get("recsys:version:a") == b"5"
    assert 399 * 86_400 < await world.redis.ttl("recsys:version:a") <= 400 * 86_400
    assert not await world.redis.exists("recsys:version:b")


async def test_a_change_under_the_known_number_is_refused_over_http(make_http):
    """PUT, DELETE and bulk alike, each item of a bulk by itself; an equal number is the same call again."""
    http = await make_http()
    put = "/v1/items/a"
    assert (await http.put(put, params={"version": 10}, json={"title": "ten"})).status_code == 200
    assert (await http.put(put, params={"version": 10}, json={"title": "ten"})).status_code == 200
    answer = await http.put(put, params={"version": 9}, json={"title": "nine"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "conflict", "version")
    bulk = {"items": [{"item_id": "a", "title": "nine"}, {}, {"item_id": "b", "title": "b"}]}
    found = (await http.post("/v1/items", params={"version": 9}, json=bulk)).json()
    assert [w["item_id"] for w in found["written"]] == ["b"]
    assert [(r["index"], r["code"]) for r in found["refused"]] == [(0, "conflict"), (1, "missing")]
    assert (await http.put(put, params={"version": 11, "wait": "visible"}, json={"title": "eleven"})).status_code == 200
    assert (await http.delete(put, params={"version": 10})).status_code == 409
    assert (await http.get(put)).json()["title"] == "eleven"
    assert (await http.delete(put, params={"version": 12})).status_code == 200
    assert (await http.put(put, params={"version": 11}, json={"title": "back"})).status_code == 409
    for wrong in ("-1", "1.5", "x", str(2**53)):
        answer = await http.put(put, params={"version": wrong}, json={"title": "t"})
        assert (answer.status_code, answer.json()["field"]) == (422, "version")
    assert await entries(http.world) == ["ten", "ten", "b", "eleven", "-"]


async def test_an_item_that_moves_between_shards_is_one_write(make_world):
    """Routed by an attribute: the entry in its shard and the tombstones in the others are written, or none of them."""
    world = await make_world(shards=2, routing={"by": "attribute", "attribute": "topic"})
    items = writer(world)
    ticket = await items.ticket()
    moved = Item("sea-1", "moved", attributes={"topic": "forest"})
    await world.gateway.items.upsert([moved], wait_visible=True)
    before = [len(await ItemLog(world.redis).read(n, "0-0")) for n in range(2)]
    assert sum(before) == 2
    logged = await items.delete("sea-1", ticket)
    assert isinstance(logged.items[0], Conflict)
    assert [len(await ItemLog(world.redis).read(n, "0-0")) for n in range(2)] == before
    assert Delete("sea-1") in [e.change for n in range(2) for e in await ItemLog(world.redis).read(n, "0-0")]
