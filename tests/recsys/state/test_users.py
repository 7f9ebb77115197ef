"""Users in Redis: the history is the truth, the profile its cache."""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import orjson
import pytest
from redis.asyncio import Redis

from recsys.config.serving import Serving
from recsys.datatypes import Interaction, UserProfile, item_keys, unknown_user
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.state import item_counts, redis_keys
from recsys.state.profile_cache import Stale
from recsys.state.tie_breaking import tie
from recsys.state.users import Appended, Counted, UserStore
from tests.support.world import eventually

D = 3
VECTORS = dict(zip("abc", np.eye(D, dtype=np.float32), strict=True))
TASTE = Taste(Serving().event_types, 10.0)
ODD = ["u", "a b", "u/1", "ü — 東京", 'quote"\\', "recsys:events:u", "{tag}", "*"]
"""Ids are arbitrary strings without control characters."""


def event(number: int, item: str = "a", user: str = "u", *, at: float | None = None) -> Interaction:
    return Interaction(f"e{number}", user, item, "like", 1000.0 + number if at is None else at, None, "r1")


@pytest.fixture
def store(redis):
    return UserStore(redis, ttl_s=1000, history=5)


async def append(store: UserStore, *events: Interaction, version: str = "v1") -> Appended:
    by_user: dict[str, list[Counted]] = {}
    for e in events:
        by_user.setdefault(e.user_id, []).append(Counted(e, 1.0))
    done = await store.append(by_user, version, unknown_user(D))
    return done[events[0].user_id]


async def likes_of(redis: Redis, item_id: str) -> float:
    return float((await item_counts.read(redis, [item_id])).likes[0])


def folded(done: Appended) -> UserProfile:
    assert done.profile is not None
    return fold(done.profile, done.fresh, VECTORS, TASTE, done.sequence)


async def save(store: UserStore, done: Appended, version: str = "v1", user: str = "u") -> UserProfile:
    profile = folded(done)
    await store.profiles.save({user: (profile, done.fresh[-1])}, version)
    return profile


async def loaded(store: UserStore, version: str = "v1", user: str = "u", dimension: int = D) -> UserProfile | int:
    """The cached profile; where it must be rebuilt, the sequence of the history."""
    (entry,) = await store.profiles.load([user], version, unknown_user(dimension))
    return entry.sequence if isinstance(entry, Stale) else entry


async def test_nobody_is_known_at_first(store):
    """An unknown user is a cold profile, not something to rebuild; no user is no trip."""
    user = await loaded(store)
    assert user.cold
    assert user.sequence == 0
    assert await store.profiles.load([], "v1", unknown_user(D)) == []
    assert await store.histories(["u"]) == [[]]


@pytest.mark.parametrize("user", ODD)
async def test_what_is_saved_is_what_is_loaded(store, user, redis):
    """Taste, seen items, recent items with their vectors, and the sequence, for any user and item id."""
    items = {name: VECTORS[x] for name, x in zip(["x/ y", "ü東", 'q"'], "abc", strict=True)}
    done = await append(store, *(event(n, item, user) for n, item in enumerate(items)))
    profile = fold(done.profile, done.fresh, items, TASTE, done.sequence)
    await store.profiles.save({user: (profile, done.fresh[-1])}, "v1")
    got = await loaded(store, user=user)
    np.testing.assert_array_equal(got.taste, profile.taste)
    np.testing.assert_array_equal(got.seen, np.sort(item_keys(items)))
    np.testing.assert_array_equal(got.recent_vectors, profile.recent_vectors)
    assert (got.recent, got.sequence) == (('q"', "ü東", "x/ y"), done.sequence)
    assert (got.session, got.session_at) == (3, 1002.0)
    assert (await store.histories([user]))[0] == list(done.fresh)
    assert await store.erase(user) == 3
    left = {k.decode().removeprefix("recsys:") async for k in redis.scan_iter()}
    assert left <= {redis_keys.SEQUENCES, redis_keys.touched(0), redis_keys.floor(user)}


async def test_users_do_not_meet(store):
    """Ids that look like parts of keys or patterns have each their own history."""
    for n, user in enumerate(ODD):
        await append(store, event(n, "a", user))
    assert [len(h) for h in await store.histories(ODD)] == [1] * len(ODD)
    await store.erase("*")
    assert [len(h) for h in await store.histories(ODD)] == [1] * (len(ODD) - 1) + [0]


async def test_an_event_counts_once(store, redis):
    """Sent again, in the same call and later, it changes neither history, nor sequence, nor likes."""
    first = await append(store, event(1), event(1), event(2))
    assert [e.event_id for e in first.fresh] == ["e1", "e2"]
    again = await append(store, event(2), event(1))
    assert (again.fresh, again.sequence, again.profile) == ((), first.sequence, None)
    assert await likes_of(redis, "a") == 1.0
    assert len((await store.histories(["u"]))[0]) == 2


async def test_the_same_event_id_of_two_users_is_two_events(store):
    """Event ids are the user's own."""
    done = await store.append({u: [Counted(event(1, "a", u), 1.0)] for u in ("u", "v")}, "v1", unknown_user(D))
    assert all(len(d.fresh) == 1 for d in done.values())
    assert done["u"].sequence != done["v"].sequence


async def test_later_events_fold_onto_the_cached_profile(store):
    """After a save the next append gives the profile before it, and the two together are the whole history."""
    await save(store, await append(store, event(1, "a"), event(2, "b")))
    done = await append(store, event(3, "c"))
    got = await save(store, done)
    whole = fold(unknown_user(D), (await store.histories(["u"]))[0], VECTORS, TASTE, done.sequence)
    np.testing.assert_allclose(got.taste, whole.taste, atol=1e-6)
    assert got.recent == whole.recent == ("c", "b", "a")
    assert (await loaded(store)).sequence == done.sequence


async def test_a_late_event_causes_a_rebuild(store):
    """An event older than the newest one cannot be folded on: the profile is stale, the history in order."""
    await save(store, await append(store, event(5, "a"), event(6, "b")))
    late = await append(store, event(1, "c"))
    assert late.profile is None
    assert await loaded(store) == late.sequence
    assert [e.item_id for e in (await store.histories(["u"]))[0]] == ["c", "a", "b"]


async def test_events_without_a_saved_profile_cause_a_rebuild(store, redis):
    """Whatever was appended and not folded in is missing from the cache: the next append must not build on it."""
    first = await append(store, event(1, "a"))
    assert first.profile is not None
    second = await append(store, event(2, "b"))
    assert second.profile is None
    await store.profiles.save({"u": (folded(first), first.fresh[-1])}, "v1")  # comes too late: the history has moved on
    assert await loaded(store) == second.sequence
    assert await redis.get(redis_keys.profile("u")) is None


async def test_a_profile_made_of_an_older_history_is_not_saved(store, redis):
    """A rebuild that ran beside an append is dropped, and so is one that ran beside an erase."""
    done = await append(store, event(1, "a"))
    profile = folded(done)
    await append(store, event(2, "b"))
    await store.profiles.save({"u": (profile, done.fresh[-1])}, "v1")
    assert isinstance(await loaded(store), int)
    await store.erase("u")
    await store.profiles.save({"u": (profile, done.fresh[-1])}, "v1")
    assert await redis.get(redis_keys.profile("u")) is None
    back = await append(store, event(3, "c", at=time.time() + 1))
    await store.profiles.save({"u": (profile, done.fresh[-1])}, "v1")
    assert await loaded(store) == back.sequence  # numbers are never used again


async def test_an_outdated_cache_is_not_built_upon(store):
    """The cached profile is of an earlier sequence than the user's: append does not offer it."""
    await save(store, await append(store, event(1, "a")))
    await append(store, event(2, "b"))  # never saved
    assert (await append(store, event(3, "c"))).profile is None


async def test_another_version_rebuilds(store):
    """A profile of another version, or of another dimension, is not used: neither to read nor to fold onto."""
    done = await append(store, event(1, "a"))
    await save(store, done)
    assert isinstance(await loaded(store), UserProfile)
    assert await loaded(store, version="v2") == done.sequence
    assert await loaded(store, dimension=D + 1) == done.sequence
    assert (await append(store, event(2, "b"), version="v2")).profile is None


async def test_the_history_is_bounded(store, redis):
    """Of more events than are kept the oldest go, by their time and not by their arrival."""
    await append(store, *(event(n) for n in (7, 3, 6, 2, 5, 4, 1)))
    assert [e.event_id for e in (await store.histories(["u"]))[0]] == ["e3", "e4", "e5", "e6", "e7"]
    assert await redis.zcard(redis_keys.order("u")) == 5
    await append(store, event(8))
    assert [e.event_id for e in (await store.histories(["u"]))[0]] == ["e4", "e5", "e6", "e7", "e8"]


async def test_events_of_one_second_about_one_item_go_by_id(store):
    """So that every rebuild gives the same profile."""
    await append(store, *(event(n, at=1000.0) for n in (3, 1, 2)))
    assert [e.event_id for e in (await store.histories(["u"]))[0]] == ["e1", "e2", "e3"]


async def test_events_of_one_second_do_not_go_by_their_ids(store):
    """The order of their items is the one of `recsys/state/tie_breaking.py`, whatever numbers the sender gave them."""
    items = sorted("ab", key=lambda item: tie("u", item))
    for at, ids in ((1000.0, (1, 2)), (2000.0, (4, 3))):
        await append(store, *(event(n, item, at=at) for n, item in zip(ids, items, strict=True)))
    assert [e.item_id for e in (await store.histories(["u"]))[0]] == [*items, *items]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_events_of_one_second_give_one_profile(store, order):
    """Whatever order they come in, one at a time, folding and rebuilding agree: in the order of their ties."""
    items = sorted("abc", key=lambda item: tie("u", item))
    names = dict(zip((1, 2, 3), items, strict=True))
    for n in order:
        done = await append(store, event(n, names[n], at=1000.0))
        if done.profile is not None:
            await save(store, done)
    rebuilt = fold(unknown_user(D), (await store.histories(["u"]))[0], VECTORS, TASTE, done.sequence)
    got = await loaded(store)
    assert rebuilt.recent == tuple(items[::-1])
    if order == (1, 2, 3):
        np.testing.assert_allclose(got.taste, rebuilt.taste, atol=1e-6)
        assert got.recent == rebuilt.recent
    else:
        assert got == done.sequence  # to be rebuilt


async def test_what_left_the_history_leaves_the_profile(redis):
    """Folding and rebuilding agree past the history's bound too; the oldest go a tenth at a time."""
    store = UserStore(redis, ttl_s=1000, history=20)
    rebuilds = 0
    for n in range(60):
        done = await append(store, event(n, "abc"[n % 3] if n != 4 else "b"))
        history = (await store.histories(["u"]))[0]
        assert 20 <= len(history) <= 22 or n < 20
        if done.profile is None:
            profile = fold(unknown_user(D), history, VECTORS, TASTE, done.sequence)
            await store.profiles.save({"u": (profile, history[-1])}, "v1")
            rebuilds += 1
        else:
            await save(store, done)
        got, whole = await loaded(store), fold(unknown_user(D), history, VECTORS, TASTE, done.sequence)
        np.testing.assert_array_equal(got.seen, whole.seen)
        np.testing.assert_allclose(got.taste, whole.taste, atol=1e-6)
    assert 0 < rebuilds <= 60 / 2


async def test_an_event_older_than_the_history_is_not_counted_again(store, redis):
    """The whole of a long history sent a second time changes nothing: neither the history nor anybody's likes."""
    events = [event(n) for n in range(30)]
    for e in events:
        await append(store, e)
    kept, likes = await store.histories(["u"]), await likes_of(redis, "a")
    again = await append(store, *events)
    assert again.fresh == ()
    assert await store.histories(["u"]) == kept
    assert await likes_of(redis, "a") == likes == 1.0


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


async def test_many_users_in_one_call(store):
    """Each gets its own answer, in order."""
    users = [f"u{n}" for n in range(20)]
    await append(store, *(event(n, "abc"[n % 3], u) for n, u in enumerate(users)))
    for u, done in [(u, await append(store, event(100, "b", u))) for u in users[::2]]:
        assert done.sequence > 20, u
    got = await store.profiles.load(["nobody", *users], "v1", unknown_user(D))
    assert got[0].cold
    assert len({entry.sequence for entry in got[1:] if isinstance(entry, Stale)}) == 20


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
            redis_keys.order,
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
    own = [make("u") for make in (redis_keys.events, redis_keys.order, redis_keys.sequence, redis_keys.counted)]
    await append(store, event(0))
    for key in own:
        await redis.expire(key, 4970)
    await append(store, event(1))
    assert {await redis.ttl(key) for key in own} <= {4969, 4970}
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
    for key in (redis_keys.events, redis_keys.order, redis_keys.sequence, redis_keys.counted):
        assert await redis.ttl(key("u")) == -1, key


async def earlier(redis, *events: Interaction) -> None:
    """Histories as releases wrote them that had JSON objects for events."""
    for number, e in enumerate(events, start=1):
        await redis.hset(redis_keys.events(e.user_id), e.event_id, orjson.dumps(asdict(e)))
        await redis.zadd(redis_keys.order(e.user_id), {e.event_id: e.timestamp})
        await redis.set(redis_keys.sequence(e.user_id), number)


async def test_events_of_an_earlier_release_are_left_out(store, redis):
    """They cannot be read: they go as others do when the history is full, take nothing from items, and stop nobody."""
    await earlier(redis, *(event(n) for n in range(5)))
    assert await store.histories(["u"]) == [[]]
    for n in range(5, 10):
        done = await append(store, event(n, item="b"))
        assert [e.event_id for e in done.fresh] == [f"e{n}"]
    assert [e.event_id for e in (await store.histories(["u"]))[0]] == [f"e{n}" for n in range(5, 10)]
    assert await redis.hlen(redis_keys.events("u")) == 5
    assert (await likes_of(redis, "a"), await likes_of(redis, "b")) == (0.0, 1.0)
    assert await store.erase("u") == 5


async def test_a_retried_append_says_what_the_call_has_added(store, redis):
    """The answer of a try is lost and the client asks again: the events are fresh, not duplicates, and counted once."""
    await append(store, event(1))
    lose_the_first_answer(redis)
    done = await append(store, event(1), event(2), event(2))
    assert [e.event_id for e in done.fresh] == ["e2"]
    assert done.profile is None  # which of the tries is cached, nobody knows
    assert await loaded(store) == done.sequence
    assert await likes_of(redis, "a") == 1.0
    assert (await append(store, event(2))).fresh == ()


def lose_the_first_answer(redis: Redis) -> None:
    """Run the next pipeline twice, as the client does when the connection breaks before the answer."""
    make = redis.pipeline

    def pipeline(**options):
        pipe = make(**options)
        execute = pipe.execute

        async def twice():
            commands = list(pipe.command_stack)
            await execute()
            pipe.command_stack = commands
            return await execute()

        pipe.execute = twice
        redis.pipeline = make
        return pipe

    redis.pipeline = pipeline


async def test_a_redis_that_has_forgotten_the_scripts_is_told_them(store, redis):
    """As after a restart or a failover: events are fresh once, and what is cached is cached."""
    await append(store, event(1))
    await redis.script_flush()
    done = await append(store, event(1), event(2))
    assert [e.event_id for e in done.fresh] == ["e2"]
    assert await likes_of(redis, "a") == 1.0
    await redis.script_flush()
    await store.profiles.save({"u": (unknown_user(D), event(2))}, "v1")
    await redis.script_flush()
    assert await store.profiles.adopt_early({"u": 1}, "v1", unknown_user(D)) == ({}, {"u": 2})


async def test_an_append_is_one_trip(store, redis):
    """No trip before it asks whether Redis knows the script."""
    await append(store, event(1))
    await redis.config_resetstat()
    await append(store, event(2))
    told = await redis.info("commandstats")
    assert told["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_script|exists" not in told


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


async def test_too_old_is_not_a_duplicate(store):
    """What left the bounded history is told apart from what is in it."""
    for n in range(20, 40):
        await append(store, event(n))
    done = await append(store, event(1), event(39), event(40))
    assert [e.event_id for e in done.too_old] == ["e1"]
    assert [e.event_id for e in done.fresh] == ["e40"]


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
