"""Pages: no item twice, none of the best passed over, whatever is written, seen, promoted or away meanwhile."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recsys.config.scenarios import Scenario
from recsys.config.serving import Serving
from recsys.datatypes import Item, RecQuery
from recsys.serving import page_tokens, paging
from tests.support.world import catalogue, event, eventually

USERS = itertools.count()


def home(**scenario):
    known = Serving(budget_s=20)
    changed = known.scenarios["home"].model_copy(update=scenario)
    return known.model_copy(update={"scenarios": {**known.scenarios, "home": Scenario(**changed.model_dump())}})


async def scroll(world, query, pages=1000):
    """Pages of the list, until it ends."""
    slates, page = [], "first"
    while page is not None and len(slates) < pages:
        slates.append(await world.gateway.page(query, page))
        page = slates[-1].next_page
    return slates


def ids_of(slates):
    return [item.item_id for slate in slates for item in slate.items]


async def test_the_pages_together_are_the_list(make_world, monkeypatch):
    """All that one answer would give, in its order, with ranks that go on; the catalogue ends with them."""
    monkeypatch.setattr(paging, "RANKED", 20)
    world = await make_world(items=catalogue(12))
    await world.gateway.record([event("u", "sea-1"), event("u", "space-2")])
    await world.counted()
    slates = await scroll(world, RecQuery(k=7, user_id="u"))
    ids = ids_of(slates)
    assert sorted(ids) == sorted({item.item_id for item in world.items} - {"sea-1", "space-2"})
    assert [item.rank for slate in slates for item in slate.items] == list(range(1, len(ids) + 1))
    assert all(not slate.degraded for slate in slates)
    one = await world.gateway.recommend(RecQuery(k=20, user_id="u"))
    assert ids[:20] == [item.item_id for item in one.items]
    assert [i.score for s in slates[:2] for i in s.items] == [i.score for i in one.items[:14]]


async def test_a_hundred_pages_under_writes_likes_deletions_and_a_swap(make_world):
    """No item twice, none of those that were ranked at first passed over, no deleted and no seen one; one order."""
    world = await make_world(items=catalogue(300), serving=home(diversity=0.3, caps={"topic": 100}))
    await world.gateway.record([event("u", "sea-1"), event("u", "space-2")])
    await world.counted()
    query, page, shown, left_out = RecQuery(k=10, user_id="u"), "first", [], {}
    expected = [item.item_id for item in (await world.gateway.recommend(RecQuery(k=300, user_id="u"))).items]
    for number in range(100):
        slate = await world.gateway.page(query, page)
        new = [item.item_id for item in slate.items]
        assert len(new) == 10
        assert not set(new) & {item for item, since in left_out.items() if since < number}
        shown += new
        page = slate.next_page
        coming = [item for item in expected if item not in shown and item not in left_out]
        if number % 3 == 0 and coming:
            await world.gateway.record([event("u", coming[-1])])
            left_out[coming[-1]] = number
        if number % 7 == 0 and len(coming) > 1:
            await world.gateway.items.delete(coming[0], wait_visible=True)
            left_out[coming[0]] = number
        if number % 5 == 0:
            await world.gateway.items.upsert(
                [Item(f"new-{number}", "sea wave", "wave harbour sail")], wait_visible=True
            )
        if number == 12:
            second = world.publish().version
            world.store.promote(second)
            assert await eventually(lambda second=second: world.follower.serve.version == second)
    assert len(shown) == len(set(shown)) == 1000
    ranked_first = [item for item in shown if item in set(expected)]
    assert ranked_first == [item for item in expected if item not in left_out]


@pytest.fixture
async def small(make_world, monkeypatch):
    """48 items in two versions, ranked 15 at a time and spread."""
    monkeypatch.setattr(paging, "RANKED", 15)
    world = await make_world(items=catalogue(12), serving=home(diversity=0.3))
    world.publish()
    return world


PLACES = st.integers(0, 100)
SWAPS = st.integers(0, 5).map(lambda n: n == 5)
TURNS = st.lists(
    st.tuples(st.integers(1, 20), st.none() | PLACES, st.none() | PLACES, SWAPS),
    min_size=1,
    max_size=12,
)
"""Items of the page; what is liked and what is deleted after it; whether the versions change places."""


@settings(max_examples=15)
@given(TURNS)
async def test_any_turns_of_any_pages_keep_the_promise(small, turns):
    """Pages of any size, between likes, deletions and swaps, of a list that is ranked on several times, to its end."""
    user = f"u{next(USERS)}"
    query, page, shown, liked, deleted = RecQuery(k=5, user_id=user), "first", [], set(), set()
    items = {item.item_id: item for item in small.items}
    for k, like, delete, swap in itertools.chain(turns, itertools.repeat((20, None, None, False))):
        slate = await small.gateway.page(structs.replace(query, k=k), page)
        new = [item.item_id for item in slate.items]
        assert not set(new) & (set(shown) | liked | deleted)
        shown += new
        page = slate.next_page
        if page is None:
            break
        ahead = [item for item in items if item not in {*shown, *liked, *deleted}]
        if ahead and like is not None:
            liked.add(ahead[like % len(ahead)])
            await small.gateway.record([event(user, item) for item in liked])
        ahead = [item for item in ahead if item not in liked]
        if ahead and delete is not None:
            deleted.add(gone := ahead[delete % len(ahead)])
            await small.gateway.items.delete(gone, wait_visible=True)
        if swap:
            [other] = {one.version for one in small.store.versions()} - {small.follower.serve.version}
            small.store.promote(other)
            assert await eventually(lambda other=other: small.follower.serve.version == other)
    assert set(shown) == items.keys() - liked - deleted
    await small.gateway.items.upsert([items[item] for item in deleted], wait_visible=True)


async def test_pages_go_on_while_redis_is_away_and_when_it_has_lost_the_list(own_valkey, own_redis, make_world):
    """Ranked anew, without what was shown; when Redis is back they are frozen again."""
    world = await make_world(redis=own_redis, items=catalogue(12))
    query = RecQuery(k=8, include_seen=True)
    first = await world.gateway.page(query, "first")
    own_valkey.stop()
    second = await world.gateway.page(query, first.next_page)
    third = await world.gateway.page(query, second.next_page)
    assert "pages" in second.degraded
    own_valkey.start()
    slates = [first, second, third]
    while slates[-1].next_page is not None:
        slates.append(await world.gateway.page(query, slates[-1].next_page))
    ids = ids_of(slates)
    assert len(ids) == len(set(ids))
    assert len(ids) >= 40
    assert not slates[-1].degraded


async def test_an_item_that_is_hidden_or_whose_time_is_over_is_on_no_later_page(make_world):
    """At the moment of the page, whatever was ranked."""
    world = await make_world(items=catalogue(12))
    query = RecQuery(k=5)
    first = await world.gateway.page(query, "first")
    items = {item.item_id: item for item in world.items}
    coming = [i.item_id for i in (await world.gateway.page(query, first.next_page)).items]
    changed = [
        replace(items[coming[0]], hidden=True),
        replace(items[coming[1]], available_until=time.time() - 1),
        replace(items[coming[2]], available_from=time.time() + 900),
        replace(items[coming[3]], available_until=time.time() + 900),
    ]
    await world.gateway.items.upsert(changed, wait_visible=True)
    second = await world.gateway.page(query, first.next_page)
    assert [i.item_id for i in second.items][:2] == coming[3:]


async def test_caps_go_on_from_page_to_page_and_pages_do_not_rotate(make_world):
    """What was ranked for pages to come was not shown."""
    world = await make_world(items=catalogue(12), serving=home(caps={"topic": 3}, rotation=1.0, diversity=0.0))
    slates = await scroll(world, RecQuery(k=6, user_id="u"), 2)
    topics = [item.item_id.partition("-")[0] for slate in slates for item in slate.items]
    assert {topic: topics.count(topic) for topic in topics} == dict.fromkeys(topics, 3)
    again = await world.gateway.page(RecQuery(k=6, user_id="u"), "first")
    assert ids_of([again]) == ids_of(slates[:1])


async def test_caps_and_diversity_go_on_where_a_list_is_ranked_on(make_world, monkeypatch):
    """As if it had been ranked as a whole: no value has more places in the longer list."""
    world = await make_world(items=catalogue(12), serving=home(caps={"topic": 6}, diversity=0.3))
    monkeypatch.setattr(paging, "RANKED", 8)
    slates = await scroll(world, RecQuery(k=8, user_id="u"))
    ids = ids_of(slates)
    topics = [item.partition("-")[0] for item in ids[:24]]
    assert {topic: topics.count(topic) for topic in topics} == dict.fromkeys(topics, 6)
    assert sorted(ids) == sorted(item.item_id for item in world.items)


async def test_an_answer_that_lacks_a_shard_is_not_frozen(make_world):
    """What the shard would have brought comes on the next page."""
    world = await make_world(items=catalogue(12), shards=2)
    world.clients[1].error = RuntimeError("away")
    first = await world.gateway.page(RecQuery(k=10), "first")
    assert first.degraded == ("shard-1",)
    world.clients[1].error = None
    rest = [await world.gateway.page(RecQuery(k=40), first.next_page)]
    while rest[-1].next_page is not None:
        rest.append(await world.gateway.page(RecQuery(k=40), rest[-1].next_page))
    assert sorted(ids_of([first, *rest])) == sorted(item.item_id for item in world.items)


def test_the_constants_that_the_page_on_http_names():
    assert (page_tokens.LIVES_S, paging.RANKED) == (1800, 300)
