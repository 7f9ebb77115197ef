"""A shard whose index lies in a store: what a request gets while the store is away, and what becomes of collections."""

from __future__ import annotations

import orjson
import pytest

from recsys.config.index import IndexSpec
from recsys.datatypes import Item, RecQuery
from recsys.index import stored
from recsys.versions.retention import prune
from tests.support.world import DIMENSION, catalogue, eventually

QUERY = RecQuery(k=10, like_item="space-0", scenario="similar")


@pytest.fixture
def server(open_engine, monkeypatch):
    monkeypatch.setattr(stored, "PAUSE_S", 0.1)
    return open_engine("pgvector", DIMENSION)


async def ids(world, query=QUERY) -> list[str]:
    return [item.item_id for item in (await world.gateway.recommend(query)).items]


async def test_while_the_store_is_away_answers_are_exact_and_say_so(make_http, server):
    """No request fails. Writes go on and are found at once; when the store is back, nothing is missing any more."""
    http = await make_http(index=IndexSpec.of("pgvector", timeout_s=10), items=catalogue(200))
    world = http.world
    path = "/v1/items/space-0/similar?k=10"
    there = (await http.get(path)).json()
    assert there["degraded"] == []
    server.stop()
    try:
        answer = await http.get(path)
        assert answer.status_code == 200
        assert answer.json()["degraded"] == ["index-0"]
        assert [i["item_id"] for i in answer.json()["items"]] == [i["item_id"] for i in there["items"]]
        item = Item("new", "a lighthouse keeper", "alone with a robot in a lighthouse")
        await world.gateway.items.upsert([item], wait_visible=True)
        slate = await world.gateway.search(item.passage(), RecQuery(k=5, scenario="search"))
        assert slate.items[0].item_id == "new"
        assert slate.degraded == ("index-0",)
        await world.gateway.items.delete("space-1", wait_visible=True)
        assert "space-1" not in await ids(world)
        # A replica that starts meanwhile serves, too.
        await world.add_replica(0)
        assert len(await ids(world)) == 10
    finally:
        server.start()

    async def whole() -> bool:
        return (await http.get(path)).json()["degraded"] == []

    assert await eventually(whole)
    assert "space-1" not in await ids(world)


async def test_a_store_that_hangs_costs_a_request_its_limit_and_no_more(make_world, server):
    """The shard answers within the budget of the request, exactly, and says that its index did not."""
    world = await make_world(index=IndexSpec.of("pgvector", timeout_s=0.5), items=catalogue(200), shards=1)
    wanted = await ids(world)
    with server.hanging():
        for _ in range(3):
            slate = await world.gateway.recommend(QUERY)
            assert slate.degraded == ("index-0",)
            assert [item.item_id for item in slate.items] == wanted

    async def whole() -> bool:
        return not (await world.gateway.recommend(QUERY)).degraded

    assert await eventually(whole)


async def test_collections_come_and_go_with_their_versions(make_world, server, hurried):
    """One a shard and version; the manifest says nothing of where they are; pruning drops them."""
    before = server.collections()
    world = await make_world(index=IndexSpec.of("pgvector", timeout_s=10), first_versions=None)
    first = server.collections() - before
    assert len(first) == 2
    for file in (world.store.root / world.store.current()).rglob("*"):
        assert not file.is_file() or server.password.encode() not in file.read_bytes()
    manifest = orjson.loads((world.store.root / world.store.current() / "manifest.json").read_bytes())
    assert manifest["index"]["url_variable"] == "RECSYS_PGVECTOR_URL"
    world.store.promote(world.publish([*world.items, Item("more", "more", "more")]).version)
    second = server.collections() - before - first
    assert len(second) == 2
    newest = world.store.current()
    assert await eventually(lambda: world.follower.serve.version == newest)

    async def pruned() -> bool:
        await prune(world.store, world.redis, keep=1)
        return server.collections() - before == second

    assert await eventually(pruned)
    assert len(await ids(world)) == 10
