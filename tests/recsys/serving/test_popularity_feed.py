"""How a shard follows the likes and trends of its items."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from redis.exceptions import NoPermissionError

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Interaction, unknown_user
from recsys.ranking.signals import trend_now
from recsys.routing import FEEDS
from recsys.serving import popularity_feed
from recsys.serving.popularity_feed import PopularityFeed
from recsys.state import counting_script, item_counts, redis_keys
from recsys.state.connection import connect
from recsys.state.users import Counted, UserStore
from tests.support.world import World, catalogue, event, eventually

NOW = 1.76e9

_numbers = itertools.count()


async def like(redis, *items: str, user: str = "u", feed: int = 0, weight: float = 1.0) -> None:
    """All in one call."""
    at = NOW + next(_numbers)
    events = [Counted(Interaction(f"{at}-{n}", user, i, "like", at), weight, feed) for n, i in enumerate(items)]
    store = UserStore(redis, ttl_s=100, history=100_000)
    await store.append({user: events}, "v", unknown_user(2))


@pytest.fixture
async def shard(make_world):
    """The shard of a running replica, whose own looks are over for now."""
    world = await make_world(shards=1, items=catalogue(3))
    (replica,) = world.clients[0].replicas
    (held,) = replica.versions.values()
    await held.retire()
    async with held.shard.changing:
        pass
    return held.shard


def counts_of(shard) -> dict[str, float]:
    return {shard.items.ids[row]: n for row in shard.items.live_rows() if (n := shard.items.counts.view[row])}


def test_no_likes_and_far_futures():
    """-inf is no trend at all, and a trend from the far future does not overflow."""
    assert trend_now(np.array([-np.inf, -1e9]), NOW, 100.0).tolist() == [0.0, 0.0]
    assert np.isfinite(trend_now(np.array([1e12]), NOW, 100.0)).all()


async def test_of_many_items_only_those_that_are_counted_are_read(redis, shard, monkeypatch):
    """At the start, and when all is read anew: then those, too, of which nothing is counted any more."""
    monkeypatch.setattr(popularity_feed, "MANY", 1)
    monkeypatch.setattr(type(redis), "dbsize", lambda _: asyncio.sleep(0, 0))
    await like(redis, "sea-0", "ghost", weight=3.0)
    await like(redis, "sea-1", user="v")
    reads: list[str] = []
    right = item_counts.read

    async def read(client, item_ids):
        reads.extend(item_ids)
        return await right(client, item_ids)

    monkeypatch.setattr(item_counts, "read", read)
    feed = PopularityFeed(redis, range(FEEDS))
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 3.0, "sea-1": 1.0}
    assert sorted(reads) == ["sea-0", "sea-1"]
    await redis.delete(redis_keys.count("sea-1"))
    await PopularityFeed(redis, range(FEEDS)).follow(shard)
    assert counts_of(shard) == {"sea-0": 3.0}


async def test_a_feed_starts_with_all_items_and_then_gives_what_changed(redis, shard, monkeypatch):
    """Each change is read once; items that the shard does not hold are never read."""
    await like(redis, "sea-0", "ghost", weight=3.0)
    feed, asked = PopularityFeed(redis, [0]), []
    plain = item_counts.read

    async def read(client, item_ids):
        asked.append(list(item_ids))
        return await plain(client, item_ids)

    monkeypatch.setattr(item_counts, "read", read)
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 3.0}
    assert sorted(asked.pop()) == sorted(item.item_id for item in catalogue(3))
    await feed.follow(shard)
    assert asked == []
    await like(redis, "sea-1", "ghost-2")
    await like(redis, "sea-0", user="v")
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 4.0, "sea-1": 1.0}
    assert [sorted(items) for items in asked] == [["sea-0", "sea-1"]]


async def test_a_look_at_which_nothing_is_new_reads_no_feed(redis, shard):
    """Every replica looks every second, and on a quiet platform mostly for nothing."""
    feed = PopularityFeed(redis, [0])
    await like(redis, "sea-0")
    await feed.follow(shard)
    await redis.config_resetstat()
    await feed.follow(shard)
    assert (await redis.info("commandstats")).keys().isdisjoint({"cmdstat_zrange", "cmdstat_zcard", "cmdstat_mget"})
    await like(redis, "sea-0", user="v")
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 2.0}


async def test_a_clock_that_is_set_back_stops_nothing(redis, shard):
    """Changes are numbered: no score of a feed is a time, so none can be of the past."""
    feed = PopularityFeed(redis, [0])
    await like(redis, "sea-0")
    await feed.follow(shard)
    await like(redis, "sea-1")
    scores = [score for _, score in await redis.zrange(redis_keys.touched(0), 0, -1, withscores=True)]
    assert max(scores) <= int(await redis.get(redis_keys.SEQUENCES)) < 100
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 1.0, "sea-1": 1.0}


async def test_a_shard_that_missed_too_much_reads_all_anew(redis, shard):
    """Also one whose Redis was emptied: the numbers are those of now, not of before."""
    feed = PopularityFeed(redis, [0])
    await like(redis, "sea-0")
    await feed.follow(shard)
    await like(redis, "sea-1")
    await redis.delete(redis_keys.touched(0))  # as if more than it holds had come meanwhile
    await redis.incrby(redis_keys.SEQUENCES, 100_000)
    await redis.zadd(redis_keys.touched(0), {f"ghost-{n}": 50_000 + n for n in range(counting_script.FEED)})
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 1.0, "sea-1": 1.0}
    await redis.flushall()
    await like(redis, "sea-2")
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-2": 1.0}


async def test_a_shard_whose_redis_was_replaced_reads_all_anew(own_redis, own_valkey, shard):
    """After a failover that lost the last changes new ones may have taken their numbers."""
    feed = PopularityFeed(own_redis, [0])
    await like(own_redis, "sea-0")
    await feed.follow(shard)
    own_valkey.stop()
    own_valkey.start()  # another server, which has nothing
    await like(own_redis, "sea-1")
    await like(own_redis, "sea-0")
    await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 1.0, "sea-1": 1.0}


async def test_a_redis_user_without_info_is_enough(redis, shard, shared_valkey):
    """INFO is a dangerous command, which a careful operator withholds."""
    await redis.acl_setuser("careful", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-@dangerous"])
    client = connect(shared_valkey.url.replace("unix://", "unix://careful:x@"), timeout_s=20)
    with pytest.raises(NoPermissionError):
        await client.info("server")
    feed = PopularityFeed(client, [0])
    for user in ("u", "v"):
        await like(redis, "sea-0", user=user)
        await feed.follow(shard)
    assert counts_of(shard) == {"sea-0": 2.0}
    await client.aclose()
    await redis.acl_deluser("careful")


async def test_more_changes_than_fit_a_page(redis, shard, monkeypatch):
    """One look takes them all."""
    monkeypatch.setattr(popularity_feed, "PAGE", 2)
    monkeypatch.setattr(item_counts, "PAGE", 2)
    feed, ids = PopularityFeed(redis, [0]), [item.item_id for item in catalogue(3)]
    await feed.follow(shard)
    await like(redis, *ids)
    await feed.follow(shard)
    assert counts_of(shard) == dict.fromkeys(ids, 1.0)
    await like(redis, *ids, user="v")
    await PopularityFeed(redis, [0]).follow(shard)
    assert counts_of(shard) == dict.fromkeys(ids, 2.0)


async def test_the_event_loop_is_free_between_pages(redis, shard, monkeypatch):
    """However many items: other tasks run between two pages, of which none is longer than the page."""
    monkeypatch.setattr(popularity_feed, "PAGE", 1)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    await PopularityFeed(redis, [0]).follow(shard)
    task.cancel()
    assert turns >= len(catalogue(3))


async def test_each_shard_hears_of_its_own_items_only(redis, make_world):
    """By hash a change stands in a feed that the item's shard follows, and no other shard does."""
    world: World = await make_world(shards=4)
    await world.gateway.record([event("u", item.item_id) for item in world.items])
    for shard, client in enumerate(world.clients):
        (shard_items,) = [held.shard.items for held in client.replicas[0].versions.values()]
        feeds = [await redis.zrange(redis_keys.touched(feed), 0, -1) for feed in world.router.feeds(shard)]
        told = [item.decode() for feed in feeds for item in feed]
        assert sorted(told) == sorted(shard_items.ids[row] for row in shard_items.live_rows().tolist())


async def test_likes_reach_the_shard_of_an_item_that_is_routed_by_an_attribute(redis, make_world):
    """Its id does not say which shard that is: all follow all feeds, and each takes its own."""
    world: World = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"))
    await world.gateway.record([event("u", item.item_id) for item in world.items])
    assert sum([await redis.zcard(redis_keys.touched(feed)) for feed in range(FEEDS)]) == len(world.items)
    for client in world.clients:
        (own,) = [held.shard for held in client.replicas[0].versions.values()]
        expected = dict.fromkeys(own.ids(own.items.live_rows()), 1.0)
        assert await eventually(lambda own=own, expected=expected: counts_of(own) == expected)


async def test_numbers_of_what_a_shard_holds_live_on(redis, shard):
    """A look prolongs them, an item that the shard does not hold keeps its week."""
    await like(redis, "sea-0", "ghost")
    await PopularityFeed(redis, [0]).follow(shard)
    assert (
        await redis.ttl(redis_keys.count("sea-0"))
        > counting_script.UNHELD_S
        >= await redis.ttl(redis_keys.count("ghost"))
        > 0
    )
