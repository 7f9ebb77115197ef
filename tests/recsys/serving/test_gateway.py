"""The whole read and write path in one process, around a real Redis."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from recsys.config.platform import RoutingSpec
from recsys.datatypes import RecQuery
from recsys.errors import BadInput, NotFound, Unavailable
from recsys.ranking.signals import SIGNALS
from recsys.state import item_counts
from tests.support.slates import ids, only
from tests.support.world import TOPICS, catalogue, event, eventually, topic_of

asking = pytest.mark.asyncio(loop_scope="module")


@asking
async def test_a_user_is_not_needed(standing_world):
    """A query without user, text or item is answered like a cold user's."""
    assert len(ids(await standing_world.gateway.recommend(RecQuery(k=7)))) == 7


@asking
async def test_a_bad_request_fails_alone(standing_world):
    """Of requests that travel together, the one with an unknown scenario gets BadInput, the others their slates."""
    queries = [RecQuery(k=3), RecQuery(k=3, scenario="nope"), RecQuery(k=3, scenario="similar", like_item="sea-1")]
    good, bad, similar = await asyncio.gather(
        *(standing_world.gateway.recommend(q) for q in queries), return_exceptions=True
    )
    assert len(good.items) == 3
    assert isinstance(bad, BadInput)
    assert bad.field == "scenario"
    assert {topic_of(i) for i in ids(similar)} == {"sea"}


@asking
async def test_exclusions_and_filters_hold(standing_world):
    """What is excluded or does not match is not in the slate, and all that is left is."""
    slate = await standing_world.gateway.recommend(RecQuery(k=100, filter=only("sea"), exclude=("sea-0", "sea-5")))
    assert set(ids(slate)) == {f"sea-{i}" for i in range(12)} - {"sea-0", "sea-5"}


@asking
async def test_search_finds_by_text(standing_world):
    """A text's nearest items come first, and for a user the seen ones are left out."""
    slate = await standing_world.gateway.search("butter and bread", RecQuery(k=4, scenario="search"))
    assert {topic_of(i) for i in ids(slate)} == {"kitchen"}
    assert slate.items[0].reasons[0] == {"code": "similar_to_query"}


@asking
async def test_similar_never_holds_the_item_itself(standing_world):
    """An item is not its own neighbour."""
    slate = await standing_world.gateway.recommend(
        RecQuery(k=11, scenario="similar", like_item="sea-1", filter=only("sea"))
    )
    assert set(ids(slate)) == {f"sea-{i}" for i in range(12)} - {"sea-1"}


@asking
async def test_explain_shows_the_signals(standing_world):
    """Asked for, each item carries its signals; otherwise none."""
    shown, plain = await asyncio.gather(
        standing_world.gateway.recommend(RecQuery(k=1, explain=True)), standing_world.gateway.recommend(RecQuery(k=1))
    )
    assert set(shown.items[0].signals) == set(SIGNALS)
    assert plain.items[0].signals is None


async def test_a_cold_user_gets_the_popular_items(make_world):
    """Of a user of whom nothing is known the slate starts with what others liked most."""
    world = await make_world()
    likes = [event(f"u{i}", "sea-3") for i in range(5)] + [event(f"u{i}", "forest-1") for i in range(3)]
    await world.gateway.record(likes)

    async def first_two():
        slate = await world.gateway.recommend(RecQuery(k=5, user_id="nobody", diversity=0.0))
        return ids(slate)[:2] == ["sea-3", "forest-1"]

    assert await eventually(first_two)
    slate = await world.gateway.recommend(RecQuery(k=5, user_id="nobody"))
    assert slate.degraded == ()
    assert slate.index_version == world.store.current()
    assert {"code": "popular"} in slate.items[0].reasons


async def test_an_event_changes_the_very_next_answer(make_world):
    """After one like the slate leads with the liked item's topic and says why."""
    world = await make_world()
    for topic in TOPICS:
        user = f"fan of {topic}"
        done = await world.gateway.record([event(user, f"{topic}-0")])
        assert (done.accepted, done.duplicates, done.unknown_items) == (1, 0, ())
        slate = await world.gateway.recommend(RecQuery(k=5, user_id=user, diversity=0.0))
        assert {topic_of(i) for i in ids(slate)} == {topic}
        reasons = [reason for r in slate.items for reason in r.reasons]
        assert {"code": "matches_your_taste"} in reasons
        assert {"code": "because_you_liked", "item_id": f"{topic}-0"} in reasons


async def test_seen_items_never_come_back(make_world):
    """Whatever the user has had an event with is left out of every later slate, until every item is seen."""
    world = await make_world(items=catalogue(3))
    left = {item.item_id for item in world.items}
    while left:
        got = ids(await world.gateway.recommend(RecQuery(k=5, user_id="u")))
        assert len(got) == min(5, len(left))
        assert set(got) <= left
        await world.gateway.record([event("u", got[0], type="view"), event("u", got[-1], type="dislike")])
        left -= {got[0], got[-1]}
    assert ids(await world.gateway.recommend(RecQuery(k=5, user_id="u"))) == []
    everything = await world.gateway.recommend(RecQuery(k=100, user_id="u", include_seen=True))
    assert set(ids(everything)) == {item.item_id for item in world.items}


async def test_an_event_sent_twice_counts_once(make_world):
    """The same event_id is accepted once, in one call, in one batch and later."""
    world = await make_world()
    once = event("u", "sea-1")
    first = await world.gateway.record([once, once])
    again, beside = await asyncio.gather(world.gateway.record([once]), world.gateway.record([structs.replace(once)]))
    assert (first.accepted, first.duplicates) == (1, 1)
    assert (again.accepted, again.duplicates) == (beside.accepted, beside.duplicates) == (0, 1)
    assert [e.event_id for e in await world.gateway.user_records.history("u")] == [once.event_id]
    assert (await item_counts.read(world.redis, ["sea-1"])).likes.tolist() == [1.0]


async def test_events_of_unknown_items_are_kept_and_named(make_world):
    """An event of an item that no shard holds is accepted, and the answer names the item."""
    world = await make_world()
    done = await world.gateway.record([event("u", "sea-1"), event("u", "no such item")])
    assert (done.accepted, done.unknown_items) == (2, ("no such item",))
    assert len(await world.gateway.user_records.history("u")) == 2


async def test_concurrent_requests_travel_together(make_world):
    """Forty requests at once are answered each with its own slate, in fewer calls to a shard than requests."""
    world = await make_world(replicas=2)
    users = [f"u{i}" for i in range(40)]
    topics = list(TOPICS)
    await asyncio.gather(*(world.gateway.record([event(u, f"{topics[i % 4]}-{i % 5}")]) for i, u in enumerate(users)))
    before = world.clients[0].searches
    slates = await asyncio.gather(*(world.gateway.recommend(RecQuery(k=4, user_id=u, diversity=0.0)) for u in users))
    assert world.clients[0].searches - before < 40
    for i, slate in enumerate(slates):
        assert {topic_of(x) for x in ids(slate)} == {topics[i % 4]}
        assert f"{topics[i % 4]}-{i % 5}" not in ids(slate)


async def test_a_slate_is_as_long_as_k_where_items_allow(make_world):
    """A k over what the scenario's sources are set to is still filled, in every scenario and for every filter."""
    world = await make_world(items=catalogue(60), shards=1)
    assert len(ids(await world.gateway.recommend(RecQuery(k=100)))) == 100
    assert len(ids(await world.gateway.search("rocket orbit", RecQuery(k=90, scenario="search")))) == 90
    similar = await world.gateway.recommend(RecQuery(k=100, scenario="similar", like_item="sea-0", filter=only("sea")))
    assert set(ids(similar)) == {f"sea-{i}" for i in range(1, 60)}


async def test_rank_orders_the_given_items_and_names_unknown_ones(make_world):
    """Rank scores exactly the given items, seen ones too, and says which it does not know."""
    world = await make_world()
    await world.gateway.record([event("u", "sea-1")])
    given = ("forest-1", "ghost", "sea-1", "sea-2", "kitchen-1")
    slate = await world.gateway.recommend(RecQuery(k=5, scenario="rank", user_id="u", items=given, include_seen=True))
    assert ids(slate)[:2] == ["sea-1", "sea-2"]
    assert set(ids(slate)) == set(given) - {"ghost"}
    assert slate.unknown_items == ("ghost",)


async def test_similar_to_an_unknown_item_is_not_found(make_world):
    """NotFound names the item; with its shard away it is Unavailable, for the item may well be there."""
    world = await make_world()
    with pytest.raises(NotFound, match="ghost"):
        await world.gateway.recommend(RecQuery(k=3, scenario="similar", like_item="ghost"))
    for client in world.clients:
        client.error = RuntimeError("gone")
    with pytest.raises(Unavailable):
        await world.gateway.recommend(RecQuery(k=3, scenario="similar", like_item="ghost"))


async def test_explain_shows_how_a_filter_was_searched(make_http):
    """Asked for, an answer says the plan and how many items match, over all shards; otherwise nothing of it."""
    http = await make_http(shards=2)
    path, given = "/v1/items/sea-1/similar", '{"must": [{"key": "topic", "eq": "sea"}]}'
    shown = (await http.get(path, params={"filter": given, "explain": "true"})).json()
    assert shown["search"] == {"plans": ["exact"], "matches": 12}
    assert "search" not in (await http.get(path, params={"filter": given})).json()
    assert "search" not in (await http.get(path, params={"explain": "true"})).json()


async def test_a_filter_on_the_routing_attribute_asks_only_the_owner(make_world):
    """Routed by topic, a query for one topic reaches one shard and misses nothing."""
    world = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"))
    slate = await world.gateway.recommend(RecQuery(k=100, filter=only("sea")))
    assert set(ids(slate)) == {f"sea-{i}" for i in range(12)}
    assert sum(client.searches for client in world.clients) == 1


async def test_each_request_of_a_batch_asks_its_own_shards(make_world):
    """Of queries for different topics that travel together each shard gets its own, one topic being in two shards; the
    answers are those of a platform that asks all shards. A shard that is away is missing to those alone that need it.
    """
    placed = {"sea": [0, 1], "space": [2]}
    world = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic", placed=placed))
    asked: dict[int, list[int]] = {}
    for number, client in enumerate(world.clients):
        search = client.search

        async def counted(query, number=number, search=search):
            asked.setdefault(number, []).append(query.size)
            return await search(query)

        client.search = counted
    queries = [RecQuery(k=100, filter=only(topic), diversity=0.0) for topic in ("sea", "space", "sea")]
    together = await asyncio.gather(*map(world.gateway.recommend, queries))
    for topic, slate in zip(("sea", "space", "sea"), together, strict=True):
        assert set(ids(slate)) == {f"{topic}-{i}" for i in range(12)}
    assert {n: sum(sizes) for n, sizes in asked.items()} == {0: 2, 1: 2, 2: 1}
    world.clients[2].error = OSError("gone")
    sea, space = await asyncio.gather(*map(world.gateway.recommend, queries[:2]), return_exceptions=True)
    assert sea.degraded == ()
    assert isinstance(space, Unavailable) or space.degraded == ("shard-2",)


async def test_texts_that_are_searched_for_together_are_encoded_together(make_world):
    world = await make_world()
    texts = [f"{words} number {n}" for n in range(10) for words in TOPICS.values()]
    asked = [world.gateway.search(text, RecQuery(k=1, scenario="search")) for text in texts]
    found = await asyncio.gather(*asked)
    assert [ids(slate)[0].split("-")[0] for slate in found] == [topic for _ in range(10) for topic in TOPICS]
    assert sorted(text for call in world.encoded for text in call) == sorted(texts)
    assert len(world.encoded) <= 4
