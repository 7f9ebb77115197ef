"""Answers beside the composers: the same as theirs, whole, logged, and with the version that they serve."""

from __future__ import annotations

import asyncio

import pytest

from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.errors import BadInput, Unavailable
from recsys.serving import bulk_answers
from recsys.state import redis_keys
from tests.support.bulk import beside
from tests.support.world import event, eventually


async def test_the_answers_are_those_of_the_composers(make_world, monkeypatch) -> None:
    """Of users with and without a profile in the cache, and of nobody whom the platform knows; each is logged."""
    world = await make_world()
    users = [f"u{n}" for n in range(70)]
    await world.gateway.record([event(user, f"sea-{n % 12}") for n, user in enumerate(users)], fold=False)
    await world.counted()
    answers = beside(world, monkeypatch)
    queries = [RecQuery(k=5, user_id=user, request_id=f"r-{user}") for user in [*users, "stranger"]]
    slates = await answers.slates(queries)
    for query, slate in zip(queries, slates, strict=True):
        alone = await world.gateway.recommend(RecQuery(k=5, user_id=query.user_id))
        assert [i.item_id for i in slate.items] == [i.item_id for i in alone.items]
        assert [i.score for i in slate.items] == pytest.approx([i.score for i in alone.items], abs=1e-4)
        assert (slate.degraded, slate.index_version) == ((), world.follower.serve.version)
    rows = await world.redis.hget(redis_keys.waiting(redis_keys.ANSWERS), "rows")
    assert int(rows) == len(queries)
    ttl = await world.redis.ttl(redis_keys.profile("u1"))
    assert 0 < ttl <= 600
    await answers.close()


async def test_edits_of_scenarios_hold_here_too(make_world, monkeypatch) -> None:
    world = await make_world()
    answers = beside(world, monkeypatch)
    sea = {"filter": {"must": [{"key": "topic", "eq": "sea"}]}}
    await world.gateway.scenarios.change({"email": sea}, "ann")
    [slate] = await answers.slates([RecQuery(k=30, scenario="email", user_id="u")])
    assert {item.item_id.partition("-")[0] for item in slate.items} == {"sea"}
    with pytest.raises(BadInput, match="scenario"):
        await answers.slates([RecQuery(k=3, scenario="none", user_id="u")])
    await answers.close()


async def test_what_lacks_a_part_is_answered_again(make_world, monkeypatch) -> None:
    """Until the shard is back; one that stays away is named in what is taken in the end."""
    world = await make_world()
    monkeypatch.setattr(bulk_answers, "PAUSE_S", 0.05)
    answers = beside(world, monkeypatch)
    world.clients[1].error = Unavailable("away")
    [slate] = await answers.slates([RecQuery(k=5, user_id="u")])
    assert slate.degraded == ("shard-1",)
    monkeypatch.setattr(bulk_answers, "PAUSE_S", 0.5)
    answering = asyncio.create_task(answers.slates([RecQuery(k=5, user_id="u")]))
    await asyncio.sleep(0.2)
    world.clients[1].error = None
    [slate] = await answering
    assert slate.degraded == ()
    await answers.close()


async def test_it_follows_the_version_that_is_served(make_world, monkeypatch) -> None:
    world = await make_world()
    answers = beside(world, monkeypatch)
    [before] = await answers.slates([RecQuery(k=3, user_id="u")])
    version = world.publish().version
    world.store.promote(version)
    assert await eventually(lambda: world.follower.serve.version == version)
    [after] = await answers.slates([RecQuery(k=3, user_id="u")])
    assert (before.index_version != version, after.index_version) == (True, version)
    await answers.close()


async def test_without_a_composer_nobody_is_answered(make_world, monkeypatch) -> None:
    world = await make_world(serving=Serving(budget_s=20))
    answers = beside(world, monkeypatch)
    await world.follower.stop()
    with pytest.raises(Unavailable, match="no composer"):
        await answers.slates([RecQuery(k=3, user_id="u")])
    await answers.close()
