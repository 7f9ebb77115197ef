"""The gateway while a part of the platform is away, busy or changing."""

from __future__ import annotations

import asyncio

import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.serving import Limits, Serving
from recsys.datatypes import Item, RecQuery
from recsys.errors import Overloaded, Unavailable
from tests.support.slates import ids
from tests.support.world import ATTRIBUTES, TOPICS, event, eventually, topic_of


@pytest.mark.parametrize("trouble", ["raises", "late"])
async def test_the_answer_goes_on_without_a_shard_and_says_so(clock, make_world, trouble):
    """A shard that raises or is late is named in `degraded`; the items are those of the others."""
    world = await make_world(serving=Serving(budget_s=10))
    owned = {i: world.router.owner(item) for i, item in ((x.item_id, x) for x in world.items)}
    world.clients[1].error = RuntimeError("no memory") if trouble == "raises" else None
    world.clients[1].delay_s = 3600 if trouble == "late" else 0
    answered, search = asyncio.Event(), world.clients[0].search

    async def told(query):
        found = await search(query)
        asyncio.get_running_loop().call_later(0.05, answered.set)  # once the gateway has it
        return found

    world.clients[0].search = told
    asking = asyncio.create_task(world.gateway.recommend(RecQuery(k=100)))
    await answered.wait()
    clock.forward(world.gateway.settings.budget_s)
    slate = await asking
    assert slate.degraded == ("shard-1",)
    assert set(ids(slate)) == {i for i, shard in owned.items() if shard == 0}
    world.clients[1].error, world.clients[1].delay_s = None, 0.0
    whole = await world.gateway.recommend(RecQuery(k=100))
    assert whole.degraded == ()
    assert len(whole.items) == len(world.items)


async def test_no_shard_at_all_is_unavailable(make_world):
    """When no shard answers there is nothing to give: Unavailable, which may be tried again."""
    world = await make_world()
    for client in world.clients:
        client.error = RuntimeError("gone")
    with pytest.raises(Unavailable):
        await world.gateway.recommend(RecQuery(k=3))
    with pytest.raises(Unavailable):
        await world.gateway.items.item("sea-1")


async def test_a_profile_rebuilt_without_a_shard_is_not_kept(make_world):
    """An event that comes while its item's shard is away counts once the shard is back."""
    world = await make_world()
    shard = world.router.holders("sea-1")[0]
    world.clients[shard].error = RuntimeError("gone")
    done = await world.gateway.record([event("u", "sea-1")])
    assert (done.accepted, done.unknown_items) == (1, ())
    away = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert away.degraded == (f"shard-{shard}",)
    world.clients[shard].error = None
    back = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert back.degraded == ()
    assert {topic_of(i) for i in ids(back)} == {"sea"}
    assert "sea-1" not in ids(back)


async def test_without_redis_reads_go_on_and_writes_are_refused(own_redis, make_world, own_valkey):
    """Redis down: slates from popular items with `profiles` in degraded; events, items and users are Unavailable."""
    world = await make_world(redis=own_redis)
    await world.gateway.record([event("u", "sea-1")])
    own_valkey.stop()
    slate = await world.gateway.recommend(RecQuery(k=5, user_id="u"))
    assert slate.degraded == ("profiles",)
    assert len(slate.items) == 5
    assert (await world.gateway.recommend(RecQuery(k=5))).degraded == ()
    assert (await world.gateway.items.item("sea-1")).item_id == "sea-1"
    with pytest.raises(Unavailable):
        await world.gateway.record([event("u", "sea-2")])
    with pytest.raises(Unavailable):
        await world.gateway.items.upsert([Item("x", "x")], wait_visible=False)
    with pytest.raises(Unavailable):
        await world.gateway.items.delete("sea-1", wait_visible=False)
    with pytest.raises(Unavailable):
        await world.gateway.user_records.history("u")
    with pytest.raises(Unavailable):
        await world.gateway.user_records.erase("u")

    own_valkey.start()

    async def taken():
        try:
            return (await world.gateway.record([event("u", "sea-2")])).accepted
        except Unavailable:
            return 0

    assert await eventually(taken) == 1
    assert (await world.gateway.recommend(RecQuery(k=5, user_id="u"))).degraded == ()
    assert all(r.healthy() for c in world.clients for r in c.replicas)


async def test_the_encoder_down_stops_text_search_and_item_writes_only(make_world):
    """Without an encoder, search and upsert are Unavailable; recommendations go on."""
    world = await make_world()
    world.encoder_down = True
    with pytest.raises(Unavailable):
        await world.gateway.search("sea", RecQuery(k=3, scenario="search"))
    with pytest.raises(Unavailable):
        await world.gateway.items.upsert([Item("x", "x")], wait_visible=False)
    assert len((await world.gateway.recommend(RecQuery(k=3))).items) == 3


async def test_nothing_is_encoded_for_those_who_have_gone(make_world):
    """An encoder that is too slow for the budget does not work through a queue that nobody waits for."""
    world = await make_world(serving=Serving(budget_s=0.2))
    world.encoder_delay_s = 60.0
    asked = (world.gateway.search(f"sea {n}", RecQuery(k=1, scenario="search")) for n in range(500))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    world.encoder_delay_s = 0.0
    world.gateway.configure(Serving(budget_s=20))
    assert ids(await world.gateway.search("wave harbour sail", RecQuery(k=1, scenario="search")))[0].startswith("sea")
    assert sum(map(len, world.encoded)) <= 2 * 64 + 1


async def test_too_many_waiting_requests_are_refused(make_world):
    """Past `max_waiting` a request is Overloaded at once; those before it are answered."""
    world = await make_world(serving=Serving(budget_s=20, max_waiting=3, flights=1, max_batch=1))
    answers = await asyncio.gather(*(world.gateway.recommend(RecQuery(k=1)) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(a, Overloaded) for a in answers) == 7
    assert sum(not isinstance(a, Exception) for a in answers) == 3


async def test_settings_change_live(make_world):
    """New settings count from the next request on; requests under way are answered under the old ones."""
    world = await make_world()
    under_way = [asyncio.ensure_future(world.gateway.recommend(RecQuery(k=2))) for _ in range(5)]
    await asyncio.sleep(0)
    world.gateway.configure(Serving(budget_s=20, limits=Limits(k=7)))
    assert world.gateway.settings.limits.k == 7
    assert [len(s.items) for s in await asyncio.gather(*under_way)] == [2] * 5
    assert len((await world.gateway.recommend(RecQuery(k=2))).items) == 2


async def test_a_version_switch_fails_no_request(make_world):
    """While a version is promoted every request is answered in full, first from the old version, then the new."""
    world = await make_world(replicas=2)
    old = world.store.current()
    await world.gateway.record([event("u", "sea-1")])
    await world.gateway.items.upsert([Item("written-live", "sea", TOPICS["sea"])], wait_visible=True)
    bigger = [*world.items, Item("only-in-new", "sea", TOPICS["sea"])]
    new = world.publish(bigger).version
    seen: set[str] = set()
    world.store.promote(new)

    async def reader(k: int) -> None:
        while new not in seen:
            if k % 2:
                slate = await world.gateway.recommend(RecQuery(k=100, user_id="u"))
                expected = len(world.items) + (1 if slate.index_version == new else 0)
                assert len(slate.items) == expected
                assert "written-live" in ids(slate)
            else:
                slate = await world.gateway.search("wave reef", RecQuery(k=3, scenario="search"))
                assert len(slate.items) == 3
            assert slate.degraded == ()
            assert slate.index_version in (old, new)
            seen.add(slate.index_version)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60):
        await asyncio.gather(*(reader(k) for k in range(6)))
    assert seen == {old, new}
    slate = await world.gateway.recommend(RecQuery(k=3, user_id="u", diversity=0.0))
    assert {topic_of(i) for i in ids(slate)} <= {"sea", "only", "written"}


async def test_a_switch_to_another_encoder_mixes_no_vector_spaces(make_world):
    """Searches go on while a version of another dimension takes over: each is answered in one version's space."""
    world = await make_world()
    other = Platform(
        shards=2, encoder=EncoderSpec(kind="hashing", dimension=24), attributes=ATTRIBUTES, index=world.platform.index
    )
    await world.gateway.items.upsert([Item("live", "sea", TOPICS["sea"])], wait_visible=True)
    new = world.publish(platform=other).version
    world.store.promote(new)
    seen: set[str] = set()

    async def reader() -> None:
        while new not in seen:
            slate = await world.gateway.search("wave reef anchor", RecQuery(k=3, scenario="search"))
            assert {topic_of(i) for i in ids(slate)} <= {"sea", "live"}
            seen.add(slate.index_version)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60):
        await asyncio.gather(*(reader() for _ in range(8)))
    found = await world.gateway.search("wave harbour sail anchor reef sea", RecQuery(k=13, scenario="search"))
    assert "live" in ids(found)
