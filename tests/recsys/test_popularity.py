"""Likes and trends, as Redis counts them and shards follow them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys import keys
from recsys.datatypes import Interaction, unknown_user
from recsys.popularity import PopularityFeed, trend_now, trend_of
from recsys.users import Counted, UserStore

HALF_LIFE = 100.0
NOW = 1.76e9


@pytest.fixture
def store(redis):
    return UserStore(redis, ttl_s=100, history=1000)


_numbers = iter(range(10**9))


async def like(store: UserStore, item: str, at: float, weight: float = 1.0) -> None:
    event = Interaction(f"e{next(_numbers)}", "u", item, "like", at)
    counted = Counted(event, max(weight, 0.0), trend_of(weight, at, HALF_LIFE))
    await store.append({"u": [counted]}, "v", unknown_user(2))


@pytest.mark.parametrize(
    "likes",
    [
        [(NOW, 1.0)],
        [(NOW - 50.0 * n, 1.0 + n % 3) for n in range(40)],
        [(NOW - 50.0 * n, 0.25) for n in reversed(range(40))],
        [(NOW, 1.0), (0.0, 5.0), (NOW - 1e6, 100.0), (-1e9, 1.0), (NOW - 100.0, 1.0)],
    ],
)
async def test_the_trend_is_the_sum_of_fading_likes(redis, store, likes):
    """What Redis adds up one by one is sum of weight * 2 ** (-age / half-life), in any order, for any age."""
    for at, weight in likes:
        await like(store, "a", at, weight)
    counts = await PopularityFeed(redis).changes()
    for now in (NOW, NOW + 250.0):
        expected = sum(w * 2.0 ** (-(now - at) / HALF_LIFE) for at, w in likes)
        got = trend_now(np.array(counts.trends), now, HALF_LIFE)
        assert got.tolist() == pytest.approx([expected], rel=1e-6)
    assert counts.likes == pytest.approx([sum(w for _, w in likes)])


async def test_dislikes_count_nothing(redis, store):
    """An event without weight makes an item neither popular nor trending."""
    await like(store, "a", NOW, 0.0)
    await like(store, "a", NOW, -1.0)
    assert (await PopularityFeed(redis).changes()).item_ids == []
    assert await redis.exists(keys.LIKES, keys.TREND, keys.TOUCHED) == 0


def test_no_likes_and_far_futures():
    """-inf is no trend at all, and a trend from the far future does not overflow."""
    assert trend_of(0.0, NOW, HALF_LIFE) == trend_of(-2.0, NOW, HALF_LIFE) == -math.inf
    assert trend_now(np.array([-np.inf, -1e9]), NOW, HALF_LIFE).tolist() == [0.0, 0.0]
    assert np.isfinite(trend_now(np.array([1e12]), NOW, HALF_LIFE)).all()


async def test_a_feed_sees_every_change(redis, store):
    """A new one starts with everything; later it gives what changed since, even a little out of order."""
    feed = PopularityFeed(redis)
    assert (await feed.changes()).item_ids == []
    await like(store, "a", NOW)
    await like(store, "ü/", NOW, 3.0)
    counts = await feed.changes()
    assert dict(zip(counts.item_ids, counts.likes, strict=True)) == {"a": 1.0, "ü/": 3.0}
    assert counts.top == 3.0
    assert (await feed.changes()).item_ids == []  # looks overlap, and nothing is given twice
    await like(store, "b", NOW)
    await like(store, "a", NOW)
    counts = await feed.changes()
    assert dict(zip(counts.item_ids, counts.likes, strict=True)) == {"b": 1.0, "a": 2.0}
    await redis.zadd(keys.TOUCHED, {"c": (await redis.zscore(keys.TOUCHED, "a")) - 1.0})  # the clock was set back
    assert (await feed.changes()).item_ids == ["c"]
    assert sorted((await PopularityFeed(redis).changes()).item_ids) == ["a", "b", "c", "ü/"]


async def test_numbers_of_given_items(redis, store):
    """Asked for by id, unknown ones count 0; more than fit one page too."""
    await like(store, "a", NOW, 2.0)
    feed = PopularityFeed(redis)
    counts = await feed.of(["ghost", "a"])
    assert (counts.likes, counts.trends[0], counts.top) == ([0.0, 2.0], -math.inf, 2.0)
    many = [f"i{n}" for n in range(25_000)]
    await redis.zadd(keys.LIKES, {i: float(n) for n, i in enumerate(many)})
    assert (await feed.of(many)).likes == [float(n) for n in range(25_000)]
    assert (await feed.of([])).item_ids == []
