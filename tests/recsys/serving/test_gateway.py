"""The whole read and write path in one process, around a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform, RoutingSpec
from recsys.config.serving import Limits, Serving
from recsys.datatypes import Condition, Filter, Item, RecQuery
from recsys.errors import BadInput, NotFound, Overloaded, Unavailable
from recsys.ranking.signals import SIGNALS
from recsys.serving.log_applier import LogApplier
from recsys.state import item_counts
from tests.support.world import ATTRIBUTES, TOPICS, catalogue, event, eventually, topic_of


def ids(slate) -> list[str]:
    return [r.item_id for r in slate.items]


def only(topic: str) -> Filter:
    return Filter(must=(Condition("topic", "any", (topic,)),))


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


async def test_a_user_is_not_needed(make_world):
    """A query without user, text or item is answered like a cold user's."""
    world = await make_world()
    assert len(ids(await world.gateway.recommend(RecQuery(k=7)))) == 7


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
    again, beside = await asyncio.gather(world.gateway.record([once]), world.gateway.record([replace(once)]))
    assert (first.accepted, first.duplicates) == (1, 1)
    assert (again.accepted, again.duplicates) == (beside.accepted, beside.duplicates) == (0, 1)
    assert [e.event_id for e in await world.gateway.history("u")] == [once.event_id]
    assert (await item_counts.read(world.redis, ["sea-1"])).likes.tolist() == [1.0]


async def test_events_of_unknown_items_are_kept_and_named(make_world):
    """An event of an item that no shard holds is accepted, and the answer names the item."""
    world = await make_world()
    done = await world.gateway.record([event("u", "sea-1"), event("u", "no such item")])
    assert (done.accepted, done.unknown_items) == (2, ("no such item",))
    assert len(await world.gateway.history("u")) == 2


async def test_a_bad_request_fails_alone(make_world):
    """Of requests that travel together, the one with an unknown scenario gets BadInput, the others their slates."""
    world = await make_world()
    queries = [RecQuery(k=3), RecQuery(k=3, scenario="nope"), RecQuery(k=3, scenario="similar", like_item="sea-1")]
    good, bad, similar = await asyncio.gather(*(world.gateway.recommend(q) for q in queries), return_exceptions=True)
    assert len(good.items) == 3
    assert isinstance(bad, BadInput)
    assert bad.field == "scenario"
    assert {topic_of(i) for i in ids(similar)} == {"sea"}


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


async def test_exclusions_and_filters_hold(make_world):
    """What is excluded or does not match is not in the slate, and all that is left is."""
    world = await make_world()
    slate = await world.gateway.recommend(RecQuery(k=100, filter=only("sea"), exclude=("sea-0", "sea-5")))
    assert set(ids(slate)) == {f"sea-{i}" for i in range(12)} - {"sea-0", "sea-5"}


async def test_a_slate_is_as_long_as_k_where_items_allow(make_world):
    """A k over what the scenario's sources are set to is still filled, in every scenario and for every filter."""
    world = await make_world(items=catalogue(60), shards=1)
    assert len(ids(await world.gateway.recommend(RecQuery(k=100)))) == 100
    assert len(ids(await world.gateway.search("rocket orbit", RecQuery(k=90, scenario="search")))) == 90
    similar = await world.gateway.recommend(RecQuery(k=100, scenario="similar", like_item="sea-0", filter=only("sea")))
    assert set(ids(similar)) == {f"sea-{i}" for i in range(1, 60)}


async def test_search_finds_by_text(make_world):
    """A text's nearest items come first, and for a user the seen ones are left out."""
    world = await make_world()
    slate = await world.gateway.search("butter and bread", RecQuery(k=4, scenario="search"))
    assert {topic_of(i) for i in ids(slate)} == {"kitchen"}
    assert slate.items[0].reasons[0] == {"code": "similar_to_query"}


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


async def test_similar_never_holds_the_item_itself(make_world):
    """An item is not its own neighbour."""
    world = await make_world()
    slate = await world.gateway.recommend(RecQuery(k=11, scenario="similar", like_item="sea-1", filter=only("sea")))
    assert set(ids(slate)) == {f"sea-{i}" for i in range(12)} - {"sea-1"}


async def test_explain_shows_the_signals(make_world):
    """Asked for, each item carries its signals; otherwise none."""
    world = await make_world()
    shown, plain = await asyncio.gather(
        world.gateway.recommend(RecQuery(k=1, explain=True)), world.gateway.recommend(RecQuery(k=1))
    )
    assert set(shown.items[0].signals) == set(SIGNALS)
    assert plain.items[0].signals is None


async def test_explain_shows_how_a_filter_was_searched(make_http):
    """Asked for, an answer says the plan and how many items match, over all shards; otherwise nothing of it."""
    http = await make_http(shards=2)
    path, given = "/v1/items/sea-1/similar", '{"must": [{"key": "topic", "eq": "sea"}]}'
    shown = (await http.get(path, params={"filter": given, "explain": "true"})).json()
    assert shown["search"] == {"plans": ["exact"], "matches": 12}
    assert "search" not in (await http.get(path, params={"filter": given})).json()
    assert "search" not in (await http.get(path, params={"explain": "true"})).json()


@pytest.mark.parametrize("trouble", ["raises", "late"])
async def test_the_answer_goes_on_without_a_shard_and_says_so(make_world, trouble):
    """A shard that raises or is late is named in `degraded`; the items are those of the others."""
    world = await make_world(serving=Serving(budget_s=0.5 if trouble == "late" else 20))
    owned = {i: world.router.owner(item) for i, item in ((x.item_id, x) for x in world.items)}
    world.clients[1].error = RuntimeError("no memory") if trouble == "raises" else None
    world.clients[1].delay_s = 60 if trouble == "late" else 0
    slate = await world.gateway.recommend(RecQuery(k=100))
    assert slate.degraded == ("shard-1",)
    assert set(ids(slate)) == {i for i, shard in owned.items() if shard == 0}
    world.clients[1].error, world.clients[1].delay_s = None, 0.0
    whole = await world.gateway.recommend(RecQuery(k=100))
    assert whole.degraded == ()
    assert len(whole.items) == len(world.items)


async def test_no_shard_at_all_is_unavailable(make_world):
    """When no shard answers there is nothing to give: Unavailable, which may be tried again."""
    world = await make_world()
    for client in world.clients:
        client.error = RuntimeError("gone")
    with pytest.raises(Unavailable):
        await world.gateway.recommend(RecQuery(k=3))
    with pytest.raises(Unavailable):
        await world.gateway.item("sea-1")


async def test_a_profile_rebuilt_without_a_shard_is_not_kept(make_world):
    """An event that comes while its item's shard is away counts once the shard is back."""
    world = await make_world()
    shard = world.router.holders("sea-1")[0]
    world.clients[shard].error = RuntimeError("gone")
    done = await world.gateway.record([event("u", "sea-1")])
    assert (done.accepted, done.unknown_items) == (1, ())
    away = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert away.degraded == (f"shard-{shard}",)
    world.clients[shard].error = None
    back = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert back.degraded == ()
    assert {topic_of(i) for i in ids(back)} == {"sea"}
    assert "sea-1" not in ids(back)


async def test_without_redis_reads_go_on_and_writes_are_refused(own_redis, make_world, own_valkey):
    """Redis down: slates from popular items with `profiles` in degraded; events, items and users are Unavailable."""
    world = await make_world(redis=own_redis)
    await world.gateway.record([event("u", "sea-1")])
    own_valkey.stop()
    slate = await world.gateway.recommend(RecQuery(k=5, user_id="u"))
    assert slate.degraded == ("profiles",)
    assert len(slate.items) == 5
    assert (await world.gateway.recommend(RecQuery(k=5))).degraded == ()
    assert (await world.gateway.item("sea-1")).item_id == "sea-1"
    with pytest.raises(Unavailable):
        await world.gateway.record([event("u", "sea-2")])
    with pytest.raises(Unavailable):
        await world.gateway.upsert([Item("x", "x")], wait_visible=False)
    with pytest.raises(Unavailable):
        await world.gateway.delete("sea-1", wait_visible=False)
    with pytest.raises(Unavailable):
        await world.gateway.history("u")
    with pytest.raises(Unavailable):
        await world.gateway.erase("u")

    own_valkey.start()

    async def taken():
        try:
            return (await world.gateway.record([event("u", "sea-2")])).accepted
        except Unavailable:
            return 0

    assert await eventually(taken) == 1
    assert (await world.gateway.recommend(RecQuery(k=5, user_id="u"))).degraded == ()
    assert all(r.healthy() for c in world.clients for r in c.replicas)


async def test_an_upserted_item_is_visible_everywhere(make_world):
    """Once `visible` is true every replica recommends the item, reads it, and finds it by its text."""
    world = await make_world(replicas=2)
    new = Item("new/one ü", "volcano", "lava magma", {"topic": "fire"})
    (written,) = await world.gateway.upsert([new], wait_visible=True)
    assert written.visible is True
    for _ in range(4):
        assert await world.gateway.item("new/one ü") == new
        assert ids(await world.gateway.recommend(RecQuery(k=3, filter=only("fire")))) == ["new/one ü"]
        assert ids(await world.gateway.search("volcano lava magma", RecQuery(k=1, scenario="search"))) == ["new/one ü"]


async def test_a_deleted_item_is_gone_everywhere(make_world):
    """Once a delete is visible no replica recommends, reads or ranks the item; deleting it again is NotFound."""
    world = await make_world(replicas=2)
    assert (await world.gateway.delete("sea-1", wait_visible=True)).visible is True
    for _ in range(4):
        slate = await world.gateway.recommend(RecQuery(k=100))
        assert "sea-1" not in ids(slate)
        assert len(slate.items) == len(world.items) - 1
        with pytest.raises(NotFound):
            await world.gateway.item("sea-1")
    with pytest.raises(NotFound):
        await world.gateway.delete("sea-1", wait_visible=False)


async def test_a_delete_reaches_an_upsert_that_is_not_visible_yet(make_world):
    """An item that is deleted right after it was acknowledged does not come to life later."""
    world = await make_world()
    for i in range(10):
        await world.gateway.upsert([Item(f"brief-{i}", "brief")], wait_visible=False)
        with contextlib.suppress(NotFound):
            await world.gateway.delete(f"brief-{i}", wait_visible=False)
    await world.gateway.upsert([Item(f"after-{i}", "after") for i in range(10)], wait_visible=True)
    assert not [i for i in ids(await world.gateway.recommend(RecQuery(k=100))) if i.startswith("brief")]


async def test_a_new_text_replaces_the_old_one(make_world):
    """An upsert of a known id moves the item to its new neighbours, and it stays one item."""
    world = await make_world()
    moved = Item("sea-1", "kitchen", TOPICS["kitchen"], {"topic": "kitchen"})
    await world.gateway.upsert([moved], wait_visible=True)
    slate = await world.gateway.recommend(RecQuery(k=100))
    assert sorted(ids(slate)) == sorted(i.item_id for i in world.items)
    similar = await world.gateway.recommend(RecQuery(k=5, scenario="similar", like_item="sea-1"))
    assert {topic_of(i) for i in ids(similar)} == {"kitchen"}


async def test_likes_outlive_an_item_that_comes_back(make_world):
    """An item that is deleted and put again has the popularity it had, and so has one whose likes came first."""
    world = await make_world()
    await world.gateway.record([event(f"u{i}", "sea-1") for i in range(9)])
    await world.gateway.record([event(f"u{i}", "not yet") for i in range(8)])
    await world.gateway.delete("sea-1", wait_visible=True)
    await asyncio.sleep(0.3)  # several looks at popularity, while neither item is there
    back = [Item("sea-1", "sea", "wave"), Item("not yet", "new", "thing")]
    await world.gateway.upsert(back, wait_visible=True)
    slate = await world.gateway.recommend(RecQuery(k=2, diversity=0.0))
    assert ids(slate) == ["sea-1", "not yet"]


async def test_an_attribute_routed_item_moves_between_shards(make_world):
    """Routed by topic, an item whose topic changes is found under the new one only, and once."""
    world = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"))
    owners = {t: world.router.owner(Item("x", attributes={"topic": t})) for t in TOPICS}
    assert len(set(owners.values())) > 1
    source, target = next((a, b) for a in TOPICS for b in TOPICS if owners[a] != owners[b])
    name = f"{source}-0"
    await world.gateway.upsert([Item(name, "moved", "moved", {"topic": target})], wait_visible=True)

    assert name in ids(await world.gateway.recommend(RecQuery(k=100, filter=only(target))))
    assert name not in ids(await world.gateway.recommend(RecQuery(k=100, filter=only(source))))
    assert ids(await world.gateway.recommend(RecQuery(k=100))).count(name) == 1
    assert (await world.gateway.delete(name, wait_visible=True)).visible
    assert name not in ids(await world.gateway.recommend(RecQuery(k=100)))


async def test_a_move_is_visible_once_the_old_shard_has_let_go(make_world, monkeypatch):
    """While a replica of the shard that held the item has not applied its delete, the caller waits."""
    world = await make_world(shards=3, routing=RoutingSpec(by="attribute", attribute="topic"))
    owners = {t: world.router.owner(Item("x", attributes={"topic": t})) for t in TOPICS}
    source, target = next((a, b) for a in TOPICS for b in TOPICS if owners[a] != owners[b])
    (old,) = world.clients[owners[source]].replicas
    old_shard = old.versions[world.store.current()].shard
    catch_up, go = LogApplier.catch_up, asyncio.Event()

    async def late(self, shard, *args, **options):
        if shard is old_shard:
            await go.wait()
        return await catch_up(self, shard, *args, **options)

    monkeypatch.setattr(LogApplier, "catch_up", late)
    await asyncio.sleep(0.6)  # a reading of the log that is under way ends
    moved = Item(f"{source}-0", "moved", "moved", {"topic": target})
    waiting = asyncio.ensure_future(world.gateway.upsert([moved], wait_visible=True))
    new = world.clients[owners[target]]
    assert await eventually(lambda: new.replicas[0].versions[world.store.current()].shard.item(moved.item_id) == moved)
    await asyncio.sleep(0.3)
    assert not waiting.done()
    go.set()
    assert (await waiting)[0].visible


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


async def test_the_encoder_down_stops_text_search_and_item_writes_only(make_world):
    """Without an encoder, search and upsert are Unavailable; recommendations go on."""
    world = await make_world()
    world.encoder_down = True
    with pytest.raises(Unavailable):
        await world.gateway.search("sea", RecQuery(k=3, scenario="search"))
    with pytest.raises(Unavailable):
        await world.gateway.upsert([Item("x", "x")], wait_visible=False)
    assert len((await world.gateway.recommend(RecQuery(k=3))).items) == 3


async def test_texts_that_are_searched_for_together_are_encoded_together(make_world):
    world = await make_world()
    texts = [f"{words} number {n}" for n in range(10) for words in TOPICS.values()]
    asked = [world.gateway.search(text, RecQuery(k=1, scenario="search")) for text in texts]
    found = await asyncio.gather(*asked)
    assert [ids(slate)[0].split("-")[0] for slate in found] == [topic for _ in range(10) for topic in TOPICS]
    assert sorted(text for call in world.encoded for text in call) == sorted(texts)
    assert len(world.encoded) <= 4


async def test_nothing_is_encoded_for_those_who_have_gone(make_world):
    """An encoder that is too slow for the budget does not work through a queue that nobody waits for."""
    world = await make_world(serving=Serving(budget_s=0.2))
    world.encoder_delay_s = 0.5
    asked = (world.gateway.search(f"sea {n}", RecQuery(k=1, scenario="search")) for n in range(500))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    world.encoder_delay_s = 0.0
    assert ids(await world.gateway.search("wave harbour sail", RecQuery(k=1, scenario="search")))[0].startswith("sea")
    assert sum(map(len, world.encoded)) <= 2 * 64 + 1


async def test_erase_forgets_the_user(make_world):
    """After erase the user is cold again and no key of theirs is left."""
    world = await make_world()
    await world.gateway.record([event("u", "sea-1"), event("u", "sea-2")])
    await world.gateway.recommend(RecQuery(k=3, user_id="u"))
    assert await world.gateway.erase("u") == 2
    assert await world.gateway.history("u") == []
    assert [k async for k in world.redis.scan_iter("recsys:*:u")] == []
    slate = await world.gateway.recommend(RecQuery(k=100, user_id="u"))
    assert len(slate.items) == len(world.items)


async def test_too_many_waiting_requests_are_refused(make_world):
    """Past `max_waiting` a request is Overloaded at once; those before it are answered."""
    world = await make_world(serving=Serving(budget_s=20, max_waiting=3, flights=1, max_batch=1))
    answers = await asyncio.gather(*(world.gateway.recommend(RecQuery(k=1)) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(a, Overloaded) for a in answers) == 7
    assert sum(not isinstance(a, Exception) for a in answers) == 3


async def test_settings_change_live(make_world):
    """New settings count from the next request on; requests under way are answered under the old ones."""
    world = await make_world()
    under_way = [asyncio.ensure_future(world.gateway.recommend(RecQuery(k=2))) for _ in range(5)]
    await asyncio.sleep(0)
    world.gateway.configure(Serving(budget_s=20, limits=Limits(k=7)))
    assert world.gateway.settings.limits.k == 7
    assert [len(s.items) for s in await asyncio.gather(*under_way)] == [2] * 5
    assert len((await world.gateway.recommend(RecQuery(k=2))).items) == 2


async def test_a_version_switch_fails_no_request(make_world):
    """While a version is promoted every request is answered in full, first from the old version, then the new."""
    world = await make_world(replicas=2)
    old = world.store.current()
    await world.gateway.record([event("u", "sea-1")])
    await world.gateway.upsert([Item("written-live", "sea", TOPICS["sea"])], wait_visible=True)
    bigger = [*world.items, Item("only-in-new", "sea", TOPICS["sea"])]
    new = world.publish(bigger).version
    seen: set[str] = set()
    world.store.promote(new)

    async def reader(k: int) -> None:
        while new not in seen:
            if k % 2:
                slate = await world.gateway.recommend(RecQuery(k=100, user_id="u"))
                expected = len(world.items) + (1 if slate.index_version == new else 0)
                assert len(slate.items) == expected
                assert "written-live" in ids(slate)
            else:
                slate = await world.gateway.search("wave reef", RecQuery(k=3, scenario="search"))
                assert len(slate.items) == 3
            assert slate.degraded == ()
            assert slate.index_version in (old, new)
            seen.add(slate.index_version)
            await asyncio.sleep(0.001)

    async with asyncio.timeout(60):
        await asyncio.gather(*(reader(k) for k in range(6)))
    assert seen == {old, new}
    slate = await world.gateway.recommend(RecQuery(k=3, user_id="u", diversity=0.0))
    assert {topic_of(i) for i in ids(slate)} <= {"sea", "only", "written"}


async def test_a_switch_to_another_encoder_mixes_no_vector_spaces(make_world):
    """Searches go on while a version of another dimension takes over: each is answered in one version's space."""
    world = await make_world()
    other = Platform(
        shards=2, encoder=EncoderSpec(kind="hashing", dimension=24), attributes=ATTRIBUTES, index=world.platform.index
    )
    await world.gateway.upsert([Item("live", "sea", TOPICS["sea"])], wait_visible=True)
    new = world.publish(platform=other).version
    world.store.promote(new)
    seen: set[str] = set()

    async def reader() -> None:
        while new not in seen:
            slate = await world.gateway.search("wave reef anchor", RecQuery(k=3, scenario="search"))
            assert {topic_of(i) for i in ids(slate)} <= {"sea", "live"}
            seen.add(slate.index_version)
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(*(reader() for _ in range(8)))
    found = await world.gateway.search("wave harbour sail anchor reef sea", RecQuery(k=13, scenario="search"))
    assert "live" in ids(found)
