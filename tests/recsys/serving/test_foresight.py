"""What a request needs is asked for at once, and no answer is made of a profile that is old."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from recsys.datatypes import RecQuery
from recsys.errors import Unavailable
from recsys.serving.pipeline import Recommender
from recsys.serving.profile_loading import ProfileLoader
from recsys.state.profile_cache import ProfileCache
from recsys.transport.shard_clients import Shards
from tests.support.slates import ids
from tests.support.world import catalogue, event, eventually

QUERY = RecQuery(k=5, user_id="u")


@pytest.fixture
async def world(make_world):
    """One shard, and a user whose profile has been loaded before."""
    world = await make_world(shards=1, items=catalogue(20))
    await world.gateway.record([event("u", f"sea-{n}") for n in range(3)])
    await world.gateway.recommend(QUERY)
    world.clients[0].searches = 0
    return world


@pytest.fixture
def unheard(monkeypatch):
    """Events are recorded by another composer, which tells this one nothing."""
    monkeypatch.setattr(ProfileCache, "outdate", lambda *_: None)


async def test_the_shards_are_asked_before_redis_has_answered(world, monkeypatch):
    """Redis answers only once the search has begun: an answer that waited for the profile first would never come."""
    before = ids(await world.gateway.recommend(QUERY))
    begun, search, mget = asyncio.Event(), world.clients[0].search, world.redis.mget

    async def searching(query: Any) -> Any:
        begun.set()
        return await search(query)

    async def late(keys: Any) -> Any:
        await begun.wait()
        return await mget(keys)

    world.clients[0].search = searching
    monkeypatch.setattr(world.redis, "mget", late)
    slate = await asyncio.wait_for(world.gateway.recommend(QUERY), 30)
    assert (ids(slate), slate.degraded) == (before, ())
    assert world.clients[0].searches == 2  # one for each answer


@pytest.mark.usefixtures("unheard")
async def test_an_event_that_another_composer_took_is_in_the_very_next_answer(world):
    """What was foreseen is thrown away, and the shards are asked with the profile of now."""
    for n in range(12):
        seen = ids(await world.gateway.recommend(QUERY))[0]
        await world.gateway.record([event("u", seen)])
        world.clients[0].searches = 0
        slate = await world.gateway.recommend(QUERY)
        assert seen not in ids(slate), n
        assert slate.degraded == ()
        assert world.clients[0].searches == 2
        in_a_batch = await asyncio.gather(world.gateway.recommend(QUERY), world.gateway.recommend(QUERY))
        assert [ids(one) for one in in_a_batch] == [ids(slate), ids(slate)], n


async def test_an_event_that_this_composer_took_costs_no_search(world):
    """The profile of before is forgotten with the event."""
    await world.gateway.record([event("u", "sea-7")])
    world.clients[0].searches = 0
    assert "sea-7" not in ids(await world.gateway.recommend(QUERY))
    assert world.clients[0].searches == 1


@pytest.mark.usefixtures("unheard")
async def test_nothing_of_an_erased_user_is_in_the_next_answer(world):
    await world.gateway.user_records.erase("u")
    slate = await world.gateway.recommend(QUERY)
    stranger = await world.gateway.recommend(RecQuery(k=5, user_id="nobody"))
    assert ids(slate) == ids(stranger)
    assert slate.degraded == ()


async def test_without_redis_the_answer_says_so(world, monkeypatch):
    """A profile that Redis does not confirm is not used."""

    async def away(_: Any) -> Any:
        raise ConnectionError

    stranger = await world.gateway.recommend(RecQuery(k=5, user_id="nobody"))
    monkeypatch.setattr(world.redis, "mget", away)
    slate = await world.gateway.recommend(QUERY)
    assert slate.degraded == ("profiles",)
    assert ids(slate) == ids(stranger)


async def test_a_shard_that_fails_is_missing_as_ever(world):
    world.clients[0].error = RuntimeError("gone")
    with pytest.raises(Unavailable):
        await world.gateway.recommend(QUERY)
    world.clients[0].error = None
    assert ids(await world.gateway.recommend(QUERY))


@pytest.mark.parametrize(
    "query",
    [
        RecQuery(k=5, user_id="new"),
        RecQuery(k=5),
        RecQuery(k=5, like_item="sea-3"),
        RecQuery(k=5, user_id="u", basket=(event("u", "sea-9"),)),
        RecQuery(k=5, user_id="u", scenario="none"),
    ],
)
async def test_what_more_is_needed_for_is_not_foreseen(world, query):
    """The shards are asked once at the most."""
    await asyncio.gather(world.gateway.recommend(query), return_exceptions=True)
    assert world.clients[0].searches <= 1


async def test_redis_is_asked_while_the_shards_look_items_up(world, monkeypatch):
    """Each answers only once the other has been asked."""
    looked_up, loaded = asyncio.Event(), asyncio.Event()
    vectors, mget = world.clients[0].vectors, world.redis.mget

    async def looking_up(*lookup: Any) -> Any:
        looked_up.set()
        await loaded.wait()
        return await vectors(*lookup)

    async def loading(keys: Any) -> Any:
        loaded.set()
        await looked_up.wait()
        return await mget(keys)

    world.clients[0].vectors = looking_up
    monkeypatch.setattr(world.redis, "mget", loading)
    with_basket = RecQuery(k=5, user_id="u", basket=(event("u", "sky-9"),))
    slate = await asyncio.wait_for(world.gateway.recommend(with_basket), 30)
    assert slate.degraded == ()
    assert "sky-9" not in ids(slate)


async def test_no_search_is_left_behind(world):
    """When a batch is given up, nobody goes on to wait for the search that was foreseen."""
    gateway = world.gateway
    shards = Shards(lambda shard: world.clients[shard], lambda _: world.router)
    recommender = Recommender(shards, ProfileLoader(gateway.users, shards, gateway.settings), gateway.settings)
    begun, never, before = asyncio.Event(), asyncio.Event(), asyncio.all_tasks()

    async def stuck(_: Any) -> Any:
        begun.set()
        await never.wait()

    world.clients[0].search = stuck
    batch = asyncio.create_task(recommender.recommend_many([QUERY], gateway.follower.serve))
    await asyncio.wait_for(begun.wait(), 30)
    batch.cancel()
    await asyncio.wait([batch], timeout=30)
    assert await eventually(lambda: asyncio.all_tasks() <= before)
