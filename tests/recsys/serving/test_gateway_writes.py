"""Writes through the gateway: items, their moves between shards, and erasure."""

from __future__ import annotations

import asyncio

import pytest

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Item, RecQuery
from recsys.errors import NotFound
from recsys.serving import item_calls
from recsys.serving.log_applier import LogApplier
from tests.support.slates import ids, only
from tests.support.world import TOPICS, event, eventually, topic_of


async def test_an_upserted_item_is_visible_everywhere(make_world):
    """Once `visible` is true every replica recommends the item, reads it, and finds it by its text."""
    world = await make_world(replicas=2)
    new = Item("new/one ü", "volcano", "lava magma", {"topic": "fire"})
    (written,) = await world.gateway.items.upsert([new], wait_visible=True)
    assert written.visible is True
    for _ in range(4):
        assert await world.gateway.items.item("new/one ü") == new
        assert ids(await world.gateway.recommend(RecQuery(k=3, filter=only("fire")))) == ["new/one ü"]
        assert ids(await world.gateway.search("volcano lava magma", RecQuery(k=1, scenario="search"))) == ["new/one ü"]


async def test_a_deleted_item_is_gone_everywhere(make_world):
    """Once a delete is visible no replica recommends, reads or ranks the item; deleting it again is NotFound."""
    world = await make_world(replicas=2)
    assert (await world.gateway.items.delete("sea-1", wait_visible=True)).visible is True
    for _ in range(4):
        slate = await world.gateway.recommend(RecQuery(k=100))
        assert "sea-1" not in ids(slate)
        assert len(slate.items) == len(world.items) - 1
        with pytest.raises(NotFound):
            await world.gateway.items.item("sea-1")
    with pytest.raises(NotFound):
        await world.gateway.items.delete("sea-1", wait_visible=False)


async def test_deletes_by_many_callers_are_made_one_at_a_time(make_world, monkeypatch):
    """All of them; reads come in between. What is not there is told to its caller alone."""
    world = await make_world()
    reading, most = [], []

    def counting(read):
        async def counted(version, item_ids):
            reading.append(item_ids)
            most.append(len(reading))
            try:
                await asyncio.sleep(0.01)  # so that another one could come in between
                return await read(version, item_ids)
            finally:
                reading.remove(item_ids)

        return counted

    for client in world.clients:
        monkeypatch.setattr(client, "items", counting(client.items))
    gone = [f"sea-{n}" for n in range(4)]
    made = await asyncio.gather(*(world.gateway.items.delete(one, wait_visible=True) for one in gone))
    assert [(one.item_id, one.visible) for one in made] == [(one, True) for one in gone]
    assert max(most) == 1
    again = (world.gateway.items.delete(one, wait_visible=False) for one in ["sea-0", "kitchen-0"])
    missing, there = await asyncio.gather(*again, return_exceptions=True)
    assert isinstance(missing, NotFound)
    assert not isinstance(there, Exception)


async def test_a_delete_that_hangs_keeps_no_other(make_world, monkeypatch):
    world = await make_world()
    reading, going_on = asyncio.Event(), asyncio.Event()

    def hanging(read):
        async def hangs_for_one(version, item_ids):
            if "sea-0" in item_ids:
                reading.set()
                await going_on.wait()
            return await read(version, item_ids)

        return hangs_for_one

    for client in world.clients:
        monkeypatch.setattr(client, "items", hanging(client.items))
    hangs = asyncio.create_task(world.gateway.items.delete("sea-0", wait_visible=False))
    await asyncio.wait_for(reading.wait(), 60)
    await asyncio.wait_for(world.gateway.items.delete("sea-1", wait_visible=True), 20)
    assert not hangs.done()
    going_on.set()
    await hangs


async def test_a_delete_reaches_an_upsert_that_is_not_visible_yet(make_world):
    """An item that is deleted right after it was acknowledged is there for the delete, and comes not to life later."""
    world = await make_world()
    for i in range(10):
        await world.gateway.items.upsert([Item(f"brief-{i}", "brief")], wait_visible=False)
        await world.gateway.items.delete(f"brief-{i}", wait_visible=False)
    await world.gateway.items.upsert([Item(f"after-{i}", "after") for i in range(10)], wait_visible=True)
    assert not [i for i in ids(await world.gateway.recommend(RecQuery(k=100))) if i.startswith("brief")]


async def test_a_delete_before_shards_that_stay_behind_is_taken(make_world, monkeypatch):
    """Nobody can say then whether the item is there. It is gone once they have read the log."""
    world = await make_world()
    catch_up, go, held = LogApplier.catch_up, asyncio.Event(), set()

    async def late(self, shard, *args, **options):
        held.add(shard)
        await go.wait()
        return await catch_up(self, shard, *args, **options)

    monkeypatch.setattr(LogApplier, "catch_up", late)
    monkeypatch.setattr(item_calls, "VISIBLE_WITHIN_S", 0.2)
    assert await eventually(lambda: len(held) == 2)  # a reading of the log that was under way has ended
    await world.gateway.items.upsert([Item("brief", "brief")], wait_visible=False)
    deleted = await world.gateway.items.delete("brief", wait_visible=True)
    assert (deleted.item_id, deleted.visible) == ("brief", False)
    monkeypatch.setattr(item_calls, "VISIBLE_WITHIN_S", 60.0)
    go.set()
    [after] = await world.gateway.items.upsert([Item("after", "after")], wait_visible=True)
    assert after.visible
    assert "brief" not in ids(await world.gateway.recommend(RecQuery(k=100)))


async def test_a_new_text_replaces_the_old_one(make_world):
    """An upsert of a known id moves the item to its new neighbours, and it stays one item."""
    world = await make_world()
    moved = Item("sea-1", "kitchen", TOPICS["kitchen"], {"topic": "kitchen"})
    await world.gateway.items.upsert([moved], wait_visible=True)
    slate = await world.gateway.recommend(RecQuery(k=100))
    assert sorted(ids(slate)) == sorted(i.item_id for i in world.items)
    similar = await world.gateway.recommend(RecQuery(k=5, scenario="similar", like_item="sea-1"))
    assert {topic_of(i) for i in ids(similar)} == {"kitchen"}


async def test_likes_outlive_an_item_that_comes_back(make_world):
    """An item that is deleted and put again has the popularity it had, and so has one whose likes came first."""
    world = await make_world()
    await world.gateway.record([event(f"u{i}", "sea-1") for i in range(9)])
    await world.gateway.record([event(f"u{i}", "not yet") for i in range(8)])
    await world.gateway.items.delete("sea-1", wait_visible=True)
    await asyncio.sleep(0.3)  # several looks at popularity, while neither item is there
    back = [Item("sea-1", "sea", "wave"), Item("not yet", "new", "thing")]
    await world.gateway.items.upsert(back, wait_visible=True)
    slate = await world.gateway.recommend(RecQuery(k=2, diversity=0.0))
    assert ids(slate) == ["sea-1", "not yet"]


async def test_an_attribute_routed_item_moves_between_shards(make_world):
    """Routed by topic, an item whose topic changes is found under the new one only, and once."""
    world = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"))
    owners = {t: world.router.owner(Item("x", attributes={"topic": t})) for t in TOPICS}
    assert len(set(owners.values())) > 1
    source, target = next((a, b) for a in TOPICS for b in TOPICS if owners[a] != owners[b])
    name = f"{source}-0"
    await world.gateway.items.upsert([Item(name, "moved", "moved", {"topic": target})], wait_visible=True)

    assert name in ids(await world.gateway.recommend(RecQuery(k=100, filter=only(target))))
    assert name not in ids(await world.gateway.recommend(RecQuery(k=100, filter=only(source))))
    assert ids(await world.gateway.recommend(RecQuery(k=100))).count(name) == 1
    assert (await world.gateway.items.delete(name, wait_visible=True)).visible
    assert name not in ids(await world.gateway.recommend(RecQuery(k=100)))


async def test_a_move_is_visible_once_the_old_shard_has_let_go(make_world, monkeypatch):
    """While a replica of the shard that held the item has not applied its delete, the caller waits."""
    world = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"))
    owners = {t: world.router.owner(Item("x", attributes={"topic": t})) for t in TOPICS}
    source, target = next((a, b) for a in TOPICS for b in TOPICS if owners[a] != owners[b])
    (old,) = world.clients[owners[source]].replicas
    old_shard = old.versions[world.store.current()].shard
    catch_up, go, held = LogApplier.catch_up, asyncio.Event(), asyncio.Event()

    async def late(self, shard, *args, **options):
        if shard is old_shard:
            held.set()
            await go.wait()
        return await catch_up(self, shard, *args, **options)

    monkeypatch.setattr(LogApplier, "catch_up", late)
    await held.wait()  # a reading of the log that was under way has ended
    moved = Item(f"{source}-0", "moved", "moved", {"topic": target})
    waiting = asyncio.ensure_future(world.gateway.items.upsert([moved], wait_visible=True))
    new = world.clients[owners[target]]
    assert await eventually(lambda: new.replicas[0].versions[world.store.current()].shard.item(moved.item_id) == moved)
    await asyncio.sleep(0.3)
    assert not waiting.done()
    go.set()
    assert (await waiting)[0].visible


async def test_erase_forgets_the_user(make_world):
    """After erase the user is cold again and no key of theirs is left."""
    world = await make_world()
    await world.gateway.record([event("u", "sea-1"), event("u", "sea-2")])
    await world.gateway.recommend(RecQuery(k=3, user_id="u"))
    assert await world.gateway.user_records.erase("u") == 2
    assert await world.gateway.user_records.history("u") == []
    assert [k async for k in world.redis.scan_iter("recsys:*:u")] == []
    slate = await world.gateway.recommend(RecQuery(k=100, user_id="u"))
    assert len(slate.items) == len(world.items)
    assert world.gateway.lately(9) == ["u"]
    await world.gateway.forget_gone()
    assert world.gateway.lately(9) == []
