"""Profiles that are out of date: rebuilt behind the requests, within bounds, and kept though late."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from recsys.config.scenarios import EventType
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery, UserProfile
from recsys.model.profiles import Taste
from recsys.serving import profile_rebuilding
from recsys.serving.profile_rebuilding import LACKING_S, Rebuilder, lacking_ttl
from recsys.state import redis_keys
from recsys.transport.shard_clients import Shards
from tests.support.world import NOW, event, eventually, topic_of


def ids(slate) -> list[str]:
    return [r.item_id for r in slate.items]


async def cached(world, *users: str) -> list[UserProfile]:
    """The profiles that need no rebuild."""
    serve = world.follower.serve
    loaded = await world.gateway.users.profiles.load(list(users), serve.version, serve.space.unknown_user())
    return [profile for profile in loaded if isinstance(profile, UserProfile)]


async def promote(world) -> str:
    """Serve another version of the same items: all profiles are out of date."""
    new = world.publish().version
    world.store.promote(new)
    assert await eventually(lambda: world.follower.serve.version == new)
    return new


class Held:
    """Holds the calls for vectors at a shard until it is let go; searches go on."""

    def __init__(self, client) -> None:
        self.go = asyncio.Event()
        self.asked: list[int] = []
        self._vectors = client.vectors
        client.vectors = self.vectors

    async def vectors(self, version, item_ids):
        self.asked.append(len(item_ids))
        await self.go.wait()
        return await self._vectors(version, item_ids)


@pytest.fixture
def waiting(clock, monkeypatch):
    """Gives the answers to queries whose profiles do not come: the time that a batch waits for them passes at once."""
    asked = []
    soon = Rebuilder.soon

    def noted(self: Rebuilder, job, within_s: float) -> bool:
        asked.append(job)  # and the batch waits from here on
        return soon(self, job, within_s)

    monkeypatch.setattr(Rebuilder, "soon", noted)
    monkeypatch.setattr(profile_rebuilding, "VECTORS_S", 3600.0)

    async def answers(world, *queries: RecQuery):
        before = len(asked)
        answering = asyncio.gather(*map(world.gateway.recommend, queries))
        assert await eventually(lambda: len(asked) > before)
        clock.forward(world.gateway.settings.budget_s / 2)
        return await answering

    return answers


async def test_what_was_rebuilt_too_late_is_kept(waiting, make_world):
    """The answer does not wait for it: it says so, leaves out what was seen, and searches go on. Without any further
    request the profile is cached once the vectors come.
    """
    world = await make_world(shards=1, serving=Serving(budget_s=10))
    await world.gateway.record([event("u", f"sea-{n}") for n in range(6)])
    await promote(world)
    held = Held(world.clients[0])
    for _ in range(3):
        [slate] = await waiting(world, RecQuery(k=40, user_id="u"))
        assert slate.degraded == ("profiles",)
        assert len(slate.items) == 40
        assert not set(ids(slate)) & {f"sea-{n}" for n in range(6)}
    assert len(held.asked) == 1  # nobody asks for the same again
    assert (await world.gateway.recommend(RecQuery(k=5))).degraded == ()
    assert not await cached(world, "u")
    held.go.set()
    assert await eventually(lambda: cached(world, "u"))
    slate = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert slate.degraded == ()
    assert {topic_of(i) for i in ids(slate)} == {"sea"}


async def test_a_history_that_cannot_be_read_harms_nobody(make_world):
    """A release wrote its events in another form: its user is as new, once, and those rebuilt with him are complete."""
    world = await make_world(shards=1)
    await world.gateway.record([event("new", "sea-0")])
    await world.redis.hset(redis_keys.events("old"), "e", b'{"event_id": "e", "item_id": "sea-1"}')
    await world.redis.set(redis_keys.sequence("old"), await world.redis.incr(redis_keys.SEQUENCES))
    await promote(world)
    asked = [world.gateway.recommend(RecQuery(k=5, user_id=user, diversity=0.0)) for user in ("old", "new")]
    old, new = await asyncio.gather(*asked)
    assert (old.degraded, new.degraded) == ((), ())
    assert {topic_of(i) for i in ids(new)} == {"sea"}
    assert len(await cached(world, "old", "new")) == 2
    await world.gateway.record([event("old", "forest-0")])
    assert "forest-0" not in ids(await world.gateway.recommend(RecQuery(k=40, user_id="old")))


async def test_only_who_is_out_of_date_is_answered_without_a_profile(waiting, make_world):
    """Users of the same batch whose profiles are there have their whole answer."""
    world = await make_world(shards=1)
    await world.gateway.record([event("old", "sea-0"), event("new", "forest-0")])
    await world.redis.delete(redis_keys.profile("old"))
    held = Held(world.clients[0])
    asked = [RecQuery(k=3, user_id=u, diversity=0.0) for u in ("old", "new", "nobody")]
    old, new, nobody = await waiting(world, *asked)
    assert (old.degraded, new.degraded, nobody.degraded) == (("profiles",), (), ())
    assert {topic_of(i) for i in ids(new)} == {"forest"}
    held.go.set()


async def test_everybody_gets_warm_after_a_promotion(make_world):
    """All of many long histories are rebuilt while requests go on; nothing but profiles is missing meanwhile, and no
    call for vectors is large.
    """
    world = await make_world(shards=1)
    users = [f"u{n}" for n in range(80)]
    for user in users:
        await world.gateway.record([event(user, f"{user}-{n}", timestamp=float(n)) for n in range(300)])
    held = Held(world.clients[0])
    held.go.set()
    await promote(world)

    async def warm() -> bool:
        slates = await asyncio.gather(*(world.gateway.recommend(RecQuery(k=3, user_id=u)) for u in users))
        assert {part for slate in slates for part in slate.degraded} <= {"profiles"}
        return len(await cached(world, *users)) == len(users)

    assert await eventually(warm, 120)
    assert sum(held.asked) >= 80 * 99
    assert max(held.asked) <= 500
    slates = await asyncio.gather(*(world.gateway.recommend(RecQuery(k=3, user_id=u)) for u in users))
    assert {slate.degraded for slate in slates} == {()}


async def test_who_came_lately_is_warm_when_another_version_is_served(waiting, make_world):
    """The first answer of the new version is whole, though no shard gives vectors any more; only a user whom this
    composer has not seen is answered without a profile. An erasure forgets what was made ahead.
    """
    world = await make_world(shards=1)
    users = [f"u{n}" for n in range(70)]
    for user in users:
        await world.gateway.record([event(user, f"sea-{n}") for n in range(3)])
        await world.gateway.recommend(RecQuery(k=1, user_id=user))
    await world.gateway.record([event("stranger", "sea-0")])
    new = await promote(world)
    held = Held(world.clients[0])
    await world.gateway.user_records.erase(users[0])
    assert not [k async for k in world.redis.scan_iter(f"*:{users[0]}")]
    slates = [await world.gateway.recommend(RecQuery(k=3, user_id=u, diversity=0.0)) for u in users[1:]]
    assert {(s.index_version, s.degraded) for s in slates} == {(new, ())}
    assert {topic_of(i) for s in slates for i in ids(s)} == {"sea"}
    [stranger] = await waiting(world, RecQuery(k=3, user_id="stranger"))
    assert stranger.degraded == ("profiles",)
    assert len(await cached(world, *users[1:])) == len(users) - 1
    held.go.set()


async def test_short_histories_come_first_and_nothing_is_made_twice(make_world):
    """Whatever the order in which they were asked for; past the bound nobody is taken on."""
    world = await make_world(shards=1)
    lengths = {"long": 300, "middle": 100, "short": 3}
    for user, events in lengths.items():
        await world.gateway.record([event(user, f"sea-{n % 12}") for n in range(events)])
    settings, serve = world.gateway.settings, world.follower.serve
    taste = Taste(settings.event_types, settings.taste_half_life)
    rebuilder = Rebuilder(world.gateway.users, Shards(world.clients.__getitem__, lambda _: world.router), taste)
    jobs = {u: rebuilder.ask(u, 1, n, serve) for u, n in lengths.items()}
    early = rebuilder.ask("short", 1, 3, replace(serve, version="next"), early=True)
    assert rebuilder.ask("long", 1, 300, serve) is jobs["long"]
    assert rebuilder.soon(jobs["short"], 0.0)
    assert not rebuilder.soon(jobs["long"], 0.0)
    assert rebuilder.soon(jobs["long"], 1.0)
    done: list[str] = []
    for user, job in jobs.items():
        job.done.add_done_callback(lambda _, user=user: done.append(user))
    results = await asyncio.gather(*(job.done for job in jobs.values()))
    assert done == ["short", "middle", "long"]
    assert [len(r.profile.seen) for r in results] == [12, 12, 3]
    await early.done
    await rebuilder.stop()


async def test_past_the_bound_nobody_is_taken_on(make_world, monkeypatch):
    """The caller is answered without, and his next request asks again."""
    monkeypatch.setattr("recsys.serving.profile_rebuilding.WAITING", 2)
    world = await make_world(shards=1)
    users = [f"u{n}" for n in range(6)]
    for user in users:
        await world.gateway.record([event(user, "sea-0")])
    await promote(world)

    async def warm() -> bool:
        await asyncio.gather(*(world.gateway.recommend(RecQuery(k=3, user_id=u)) for u in users))
        return len(await cached(world, *users)) == len(users)

    assert await eventually(warm)


async def test_a_rebuild_that_fails_fails_nobody_else(make_world):
    """What is wrong in one group is logged; the users are answered without a profile, and others are rebuilt."""
    world = await make_world(shards=1)
    await world.gateway.record([event("broken", "sea-0"), event("good", "sea-0")])
    await world.redis.delete(redis_keys.profile("broken"), redis_keys.profile("good"))
    [stored] = await world.redis.hvals(redis_keys.events("broken"))
    await world.redis.hset(redis_keys.events("broken"), b"\xff", stored)  # an id that is no UTF-8
    assert (await world.gateway.recommend(RecQuery(k=3, user_id="broken"))).degraded == ("profiles",)
    assert (await world.gateway.recommend(RecQuery(k=3, user_id="good"))).degraded == ()


async def test_settings_that_change_live_reach_cached_profiles(make_world):
    """Equal histories under equal settings give equal tastes, whenever the profile was cached."""
    world = await make_world(shards=1)
    for user in ("active", "twin"):
        await world.gateway.record([event(user, "sea-0", type="view"), event(user, "space-0", type="like")])
    await world.redis.delete(redis_keys.profile("twin"))
    types = {"view": EventType(weight=0.0), "like": EventType(weight=1.0)}
    for changed in (Serving(budget_s=20, event_types=types), Serving(budget_s=20, taste_half_life=1.0)):
        world.gateway.configure(changed)
        for user in ("active", "twin"):
            await world.gateway.record([event(user, "forest-0")])
            await world.gateway.recommend(RecQuery(k=1, user_id=user))
        active, twin = await cached(world, "active", "twin")
        assert abs(active.taste - twin.taste).max() < 1e-6


async def test_a_film_liked_and_disliked_many_times_is_one_that_was_disliked(make_world):
    """The newest word counts in the very next answer; liked again, it is the reason for what is shown."""
    world = await make_world(shards=1)
    for _ in range(20):
        await world.gateway.record([event("u", "sea-3")])
        await world.gateway.record([event("u", "sea-3", type="dislike")])
    await world.gateway.record([event("twin", "sea-3", type="dislike")])
    await world.counted()
    asked = [RecQuery(k=10, user_id=u, diversity=0.0, explain=True) for u in ("u", "twin")]
    slates = [await world.gateway.recommend(query) for query in asked]
    assert ids(slates[0]) == ids(slates[1])
    assert all(item.signals["taste"] == item.signals["because"] == 0 for item in slates[0].items)
    await world.gateway.record([event("u", "sea-3")])
    liked = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert {topic_of(i) for i in ids(liked)} == {"sea"}


@pytest.mark.parametrize(("age_s", "ttl_s"), [(0, 2), (100, 100), (1e6, 600), (-50, 2)])
def test_a_profile_that_lacks_an_item_is_looked_at_again_the_sooner_the_younger_the_like(age_s, ttl_s, monkeypatch):
    """A deleted item does not have a user's profile made anew every two seconds for ever."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    told = [event("u", "gone", timestamp=NOW - age_s), event("u", "here", timestamp=NOW)]
    assert lacking_ttl(told, {"gone"}) == ttl_s
    assert lacking_ttl(told, set()) is None
    assert LACKING_S == (2.0, 600.0)
