"""How long what is known of a user lives: erasure, lifetimes, and the place that visitors take."""

from __future__ import annotations

import time

import pytest
from redis.asyncio import Redis

from recsys.datatypes import unknown_user
from recsys.state import redis_keys
from recsys.state.users import Counted, UserStore
from tests.support.user_store import D, append, event, folded, save
from tests.support.world import eventually


@pytest.fixture
def store(redis):
    return UserStore(redis, ttl_s=1000, history=5)


async def test_an_erased_user_is_gone_for_good(store, redis):
    """No key and no value names the user; what is sent again of the time before is not taken, what is new is."""
    user = "somebody with a name"
    await redis.config_set("rdbcompression", "no")  # so that a value's dump shows what it holds
    old = [event(n, "abc"[n % 3], user) for n in range(5)]
    await save(store, await append(store, *old), user=user)
    await append(store, event(20, "b", user))
    assert await holds(redis, user)
    assert await store.erase(user) == 5
    assert not await holds(redis, user)
    again = await append(store, *old)
    assert again.fresh == ()
    assert not await holds(redis, user)
    assert (await store.profiles.load([user], "v1", unknown_user(D)))[0].cold
    new = await append(store, event(30, "a", user, at=time.time() + 1))
    assert [e.event_id for e in new.fresh] == ["e30"]
    assert await store.histories([user]) == [[*new.fresh]]


async def holds(redis: Redis, name: str) -> bool:
    """Whether anything in Redis contains the name: a key, or what stands behind one."""
    found = [k + (await redis.dump(k) or b"") async for k in redis.scan_iter()]
    return any(name.encode() in what for what in found)


async def test_a_cached_profile_expires(store, redis):
    """The cache has a time to live; the history has none where users live for ever."""
    await save(store, await append(store, event(1)))
    assert 0 < await redis.ttl(redis_keys.profile("u")) <= 1000
    assert await redis.ttl(redis_keys.events("u")) == -1


async def test_what_is_known_of_a_user_expires_after_the_last_event(redis):
    """Every key of a user has a lifetime, which each event renews; so has what is left of an erased user."""
    store = UserStore(redis, ttl_s=1000, history=10, user_ttl_s=5000)
    await save(store, await append(store, event(0)))
    await append(store, *(event(n) for n in range(1, 15)))
    own = [
        make("u")
        for make in (
            redis_keys.events,
            redis_keys.sequence,
            redis_keys.profile,
            redis_keys.floor,
            redis_keys.counted,
        )
    ]
    others = {redis_keys.SEQUENCES, redis_keys.count("a"), redis_keys.touched(0)}
    assert {*own, *others} == {k.decode().removeprefix("recsys:") async for k in redis.scan_iter()}
    for key in own:
        assert 0 < await redis.ttl(key) <= 5000, key
        await redis.expire(key, 10)
    await append(store, event(20))
    assert all([await redis.ttl(key) > 4000 for key in own if key != redis_keys.profile("u")])
    await store.erase("u")
    assert 4000 < await redis.ttl(redis_keys.floor("u")) <= 5000
    await UserStore(redis, ttl_s=1000, history=5).erase("v")
    assert await redis.ttl(redis_keys.floor("v")) > 0


async def test_a_lifetime_is_prolonged_once_a_hundredth_of_it_has_passed(redis):
    """Events within that time leave the lifetimes; another setting counts from the next event on."""
    store = UserStore(redis, ttl_s=1000, history=10, user_ttl_s=5000)
    own = [make("u") for make in (redis_keys.events, redis_keys.sequence, redis_keys.counted)]
    await append(store, event(0))
    for key in own:
        await redis.expire(key, 4970)
    await append(store, event(1))
    assert all([await redis.ttl(key) <= 4970 for key in own])
    for key in own:
        await redis.expire(key, 4900)
    await append(store, event(2))
    assert all([await redis.ttl(key) > 4990 for key in own])
    await append(UserStore(redis, ttl_s=1000, history=10, user_ttl_s=3600), event(3))
    assert all([3590 < await redis.ttl(key) <= 3600 for key in own])


async def test_users_live_for_ever_from_their_next_event_on(redis):
    """Where the setting is taken away, a history does not expire under a user who still comes."""
    await append(UserStore(redis, ttl_s=1000, history=10, user_ttl_s=5000), event(0))
    await append(UserStore(redis, ttl_s=1000, history=10), event(1))
    for key in (redis_keys.events, redis_keys.sequence, redis_keys.counted):
        assert await redis.ttl(key("u")) == -1, key


async def test_events_without_a_time_are_taken_after_an_erasure(store):
    """The composer's clock is behind Redis', by which the user was erased: the events come right after it, in order.
    An event with a time of before is refused all the same.
    """
    await append(store, event(1))
    await store.erase("u")
    at = time.time() - 3600
    told = [Counted(event(n, "abc"[n], at=at + n * 1e-6), 1.0, timed=n == 1) for n in range(3)]
    done = (await store.append({"u": told}, "v1", unknown_user(D)))["u"]
    assert [e.item_id for e in done.fresh] == ["a", "c"]
    assert [e.item_id for e in done.too_old] == ["b"]
    (history,) = await store.histories(["u"])
    assert history == list(done.fresh)
    assert [e.item_id for e in history] == ["a", "c"]
    assert folded(done).recent == ("c", "a")


async def test_visitors_who_come_once_take_a_bounded_place_and_go(own_redis):
    """At two sizes the same bytes a visitor, under 700 with all keys; after their lifetime nothing of them is left."""
    unknown, taken = unknown_user(D), []
    store = UserStore(own_redis, ttl_s=2, history=1000, user_ttl_s=2)
    for size in (500, 2000):
        await own_redis.flushall()
        told = {f"{n:032d}": [Counted(event(n, user=f"{n:032d}"), 0.2)] for n in range(size)}
        await UserStore(own_redis, ttl_s=60, history=1000, user_ttl_s=60).append(told, "v", unknown)
        pipe = own_redis.pipeline(transaction=False)
        async for key in own_redis.scan_iter("*0000*"):
            pipe.memory_usage(key)
        taken.append(sum(await pipe.execute()) / size)
    assert max(taken) < 700, taken
    assert taken[0] == pytest.approx(taken[1], rel=0.05)
    await own_redis.flushall()
    await store.append({f"u{n}": [Counted(event(n, user=f"u{n}"), 0.2)] for n in range(500)}, "v", unknown)

    async def gone() -> bool:
        return not [k async for k in own_redis.scan_iter("*u[0-9]*")]

    assert await eventually(gone)
