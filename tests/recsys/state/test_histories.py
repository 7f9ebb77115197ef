"""The history of a user: its bound, the order of its events, and what is no part of it."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from msgspec.structs import asdict
from redis.asyncio import Redis

from recsys.datatypes import Interaction, unknown_user
from recsys.model.profiles import fold
from recsys.state import item_counts, redis_keys
from recsys.state.tie_breaking import tie
from recsys.state.users import UserStore
from tests.support.user_store import TASTE, VECTORS, D, append, event, loaded, save


@pytest.fixture
def store(redis):
    return UserStore(redis, ttl_s=1000, history=5)


async def likes_of(redis: Redis, item_id: str) -> float:
    return float((await item_counts.read(redis, [item_id])).likes[0])


async def test_the_history_is_bounded(store, redis):
    """Of more events than are kept the oldest go, by their time and not by their arrival."""
    await append(store, *(event(n) for n in (7, 3, 6, 2, 5, 4, 1)))
    assert [e.event_id for e in (await store.histories(["u"]))[0]] == ["e3", "e4", "e5", "e6", "e7"]
    assert await redis.hlen(redis_keys.events("u")) == 5
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


async def earlier(redis, *events: Interaction) -> None:
    """Histories as releases wrote them that had JSON objects for events."""
    for number, e in enumerate(events, start=1):
        await redis.hset(redis_keys.events(e.user_id), e.event_id, orjson.dumps(asdict(e)))
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


async def test_too_old_is_not_a_duplicate(store):
    """What left the bounded history is told apart from what is in it."""
    for n in range(20, 40):
        await append(store, event(n))
    done = await append(store, event(1), event(39), event(40))
    assert [e.event_id for e in done.too_old] == ["e1"]
    assert [e.event_id for e in done.fresh] == ["e40"]
