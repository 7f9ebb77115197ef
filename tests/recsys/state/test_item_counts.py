"""What users' events add to the likes and trends of items, whatever the order in which they come."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.datatypes import Interaction, unknown_user
from recsys.ranking.signals import trend_now
from recsys.state import counting_script, item_counts, redis_keys
from recsys.state.item_counts import Counts, grain
from recsys.state.users import Counted, UserStore

HALF_LIFE = 100.0
NOW = 1.76e9
ITEMS = ["a", "b", 'ü"/']

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Word:
    """An event; `weight` 0: a word against the item."""

    user: str
    item: str
    at: float
    weight: float


def store_of(redis, history=1000, **options) -> UserStore:
    return UserStore(redis, ttl_s=100, history=history, trend_half_life_s=HALF_LIFE, **options)


async def say(store: UserStore, *words: Word) -> None:
    """All in one call."""
    by_user: dict[str, list[Counted]] = {}
    for w in words:
        event = Interaction(f"e{next(_numbers)}", w.user, w.item, "like", w.at)
        by_user.setdefault(w.user, []).append(Counted(event, w.weight))
    await store.append(by_user, "v", unknown_user(2))


async def likes(redis, *items: str) -> list[float]:
    return (await item_counts.read(redis, items)).likes.tolist()


def expected(words: Sequence[Word], now: float) -> tuple[list[float], list[float]]:
    """Likes of ITEMS, and what is left of them now: of each user the strongest word since the last one against it."""
    total, left = [0.0] * len(ITEMS), [0.0] * len(ITEMS)
    for user, (n, item) in itertools.product({w.user for w in words}, enumerate(ITEMS)):
        own = [w for w in words if (w.user, w.item) == (user, item)]
        against = max((w.at for w in own if not w.weight), default=-math.inf)
        since = [w for w in own if w.weight and w.at > against]
        if since:
            weight = max(grain(w.weight) for w in since)
            total[n] += weight
            left[n] += weight * 2.0 ** (-(now - max(w.at for w in since)) / HALF_LIFE)
    return total, left


words = st.builds(
    Word,
    st.sampled_from(["u", "v"]),
    st.sampled_from(ITEMS),
    st.integers(0, 12).map(lambda n: NOW - 40.0 * n),
    st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.5]),
)


@settings(max_examples=40)
@given(said=st.lists(words, max_size=25), data=st.data())
async def test_the_same_events_count_the_same_in_any_order_and_any_calls(redis, said, data):
    """Likes to the bit, trends to a ten-millionth of a like: of each user the strongest word that still stands."""
    total, left = expected(said, NOW)
    for _ in range(2):
        await redis.flushall()
        store, order = store_of(redis), data.draw(st.permutations(said))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=5)))
        for start, end in itertools.pairwise([0, *cuts, len(said)]):
            await say(store, *order[start:end])
        counts = await item_counts.read(redis, ITEMS)
        assert counts.likes.tolist() == total
        assert trend_now(counts.trends, NOW, HALF_LIFE) == pytest.approx(left, abs=1e-7)


@settings(max_examples=25)
@given(said=st.lists(words, max_size=40, unique_by=lambda w: (w.user, w.at)))
async def test_what_leaves_a_history_and_whose_user_is_erased_is_taken_back(redis, said):
    """The numbers are those of the events that histories hold; after all users went there are none."""
    await redis.flushall()
    store = store_of(redis, history=10)
    for word in said:
        await say(store, word)
    kept = {(w.user, w.at) for h in await store.histories(["u", "v"]) for w in map(_as_word, h)}
    total, left = expected([w for w in said if (w.user, w.at) in kept], NOW)
    counts = await item_counts.read(redis, ITEMS)
    assert counts.likes.tolist() == total
    assert trend_now(counts.trends, NOW, HALF_LIFE) == pytest.approx(left, abs=1e-7)
    for user in ("u", "v"):
        await store.erase(user)
    assert (await item_counts.read(redis, ITEMS)).likes.tolist() == [0.0] * 3
    assert not await redis.exists(*map(redis_keys.count, ITEMS), redis_keys.counted("u"), redis_keys.counted("v"))


def _as_word(event: Interaction) -> Word:
    return Word(event.user_id, event.item_id, event.timestamp, 1.0)


async def test_one_user_moves_an_item_once(redis):
    """Twenty likes are one, the dislike takes it back, a purchase is more than a view, a view after it no less."""
    store = store_of(redis)
    for n in range(20):
        await say(store, Word("u", "a", NOW + n, 1.0))
    assert await likes(redis, "a") == [1.0]
    await say(store, Word("u", "a", NOW + 30, 0.0))
    assert await likes(redis, "a") == [0.0]
    await say(store, Word("u", "a", NOW + 10, 1.5))  # it comes late: from before the dislike
    assert await likes(redis, "a") == [0.0]
    await say(store, Word("u", "a", NOW + 40, 0.5), Word("u", "a", NOW + 50, 1.5), Word("u", "a", NOW + 60, 0.5))
    assert await likes(redis, "a") == [1.5]


async def test_a_trend_is_a_sum_of_fading_likes_of_any_age(redis):
    """Added one by one: sum of weight * 2 ** (-age / half-life), also of ages that no number could hold."""
    store = store_of(redis)
    said = [(NOW, 1.0), (0.0, 5.0), (NOW - 1e6, 100.0), (-1e9, 1.0), (NOW - 100.0, 1.0), (NOW - 50.0, 0.25)]
    for n, (at, weight) in enumerate(said):
        await say(store, Word(f"u{n}", "a", at, weight))
    trends = (await item_counts.read(redis, ["a"])).trends
    for now in (NOW, NOW + 250.0):
        left = sum(w * 2.0 ** (-(now - at) / HALF_LIFE) for at, w in said)
        assert trend_now(trends, now, HALF_LIFE) == pytest.approx([left], rel=1e-6)


async def test_an_event_sent_again_counts_once(redis):
    """A retry adds nothing, nor does one that is as old as what has left the history."""
    store = store_of(redis, history=10)
    event = Counted(Interaction("e", "u", "a", "like", NOW), 1.0)
    for _ in range(2):
        await store.append({"u": [event]}, "v", unknown_user(2))
    for n in range(15):
        await say(store, Word("u", f"i{n}", NOW + 1 + n, 1.0))
    await store.append({"u": [event]}, "v", unknown_user(2))
    assert await likes(redis, "a") == [0.0]


async def test_what_nobody_holds_expires_and_what_a_shard_holds_lives_on(redis):
    """A week for an item that no shard knows; over a year for one that a shard has read; a week once it is deleted."""
    store = store_of(redis)
    await say(store, Word("u", "a", NOW, 1.0), Word("u", "ghost", NOW, 1.0))
    counts = await item_counts.read(redis, ["ghost", "a", "nothing"])
    assert counts.expiring == ["ghost", "a"]
    await item_counts.prolong(redis, ["a", "nothing"])
    week, year = counting_script.UNHELD_S, counting_script.HELD_S
    for item, seconds in (("ghost", week), ("a", year)):
        assert seconds - 60 < await redis.ttl(redis_keys.count(item)) <= seconds
    assert not await redis.exists(redis_keys.count("nothing"))
    await say(store, Word("v", "a", NOW, 1.0), Word("v", "ghost", NOW, 1.0))  # which prolongs nothing
    for item, seconds in (("ghost", week), ("a", year)):
        assert seconds - 60 < await redis.ttl(redis_keys.count(item)) <= seconds
    counts = await item_counts.read(redis, ["a"])
    assert (counts.likes.tolist(), counts.expiring) == ([2.0], [])
    await redis.register_script(f"{item_counts.RELEASE} release(KEYS[1])")(keys=[redis_keys.count("a")])
    assert await redis.ttl(redis_keys.count("a")) <= week
    assert (await item_counts.read(redis, ["a"])).expiring == ["a"]


async def test_a_counter_that_expired_begins_anew(redis):
    """Those who had liked the item before count again when they like it again, and take nothing from others."""
    store = store_of(redis)
    await say(store, Word("u", "a", NOW, 1.0), Word("v", "a", NOW, 1.0))
    await redis.delete(redis_keys.count("a"))  # as when it expires
    await say(store, Word("w", "a", NOW + 1, 1.0))
    await say(store, Word("u", "a", NOW + 2, 0.0))
    assert await likes(redis, "a") == [1.0]
    await say(store, Word("v", "a", NOW + 3, 1.0))
    assert await likes(redis, "a") == [2.0]


async def test_feeds_are_bounded(redis):
    """Of each feed the newest changes stay, whatever items they are of."""
    await redis.zadd(redis_keys.touched(0), {f"ghost-{n}": -n for n in range(counting_script.FEED * 11 // 10)})
    await say(store_of(redis), Word("u", "a", NOW, 1.0))
    assert await redis.zcard(redis_keys.touched(0)) == counting_script.FEED
    assert [item.decode() for item in await redis.zrange(redis_keys.touched(0), 0, 1, desc=True)] == ["a", "ghost-0"]


def test_weights_are_counted_in_grains():
    """Near what was given, never rounded to nothing; what is no like stays 0."""
    assert grain(0.2) == pytest.approx(0.2, rel=1e-5)
    assert grain(1.5) == 1.5
    assert grain(1e-12) > 0.0 == grain(0.0) == grain(-1.0)


async def test_nothing_asked_nothing_read(redis):
    """An empty question is no command, and nothing counted is zeros."""
    assert isinstance(await item_counts.read(redis, []), Counts)
    counts = await item_counts.read(redis, [f"i{n}" for n in range(2500)])
    assert counts.likes.tolist() == [0.0] * 2500
    assert np.isneginf(counts.trends).all()
