"""Users in Redis: the history is the truth, the profile its cache."""

from __future__ import annotations

import time

import numpy as np
import pytest
from redis.asyncio import Redis

from recsys.datatypes import UserProfile, item_keys, unknown_user
from recsys.model.profiles import fold
from recsys.state import item_counts, redis_keys
from recsys.state.profile_cache import Stale
from recsys.state.users import Counted, UserStore
from tests.support.user_store import TASTE, VECTORS, D, append, event, folded, loaded, save

ODD = ["u", "a b", "u/1", "ü — 東京", 'quote"\\', "recsys:events:u", "{tag}", "*"]
"""Ids are arbitrary strings without control characters."""


@pytest.fixture
def store(redis):
    return UserStore(redis, ttl_s=1000, history=5)


async def likes_of(redis: Redis, item_id: str) -> float:
    return float((await item_counts.read(redis, [item_id])).likes[0])


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
    assert left <= {redis_keys.SEQUENCES, redis_keys.touched(0), redis_keys.floor(user), redis_keys.token(user)}


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


async def test_many_users_in_one_call(store):
    """Each gets its own answer, in order."""
    users = [f"u{n}" for n in range(20)]
    await append(store, *(event(n, "abc"[n % 3], u) for n, u in enumerate(users)))
    for u, done in [(u, await append(store, event(100, "b", u))) for u in users[::2]]:
        assert done.sequence > 20, u
    got = await store.profiles.load(["nobody", *users], "v1", unknown_user(D))
    assert got[0].cold
    assert len({entry.sequence for entry in got[1:] if isinstance(entry, Stale)}) == 20


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
