"""An answer that is empty or short says why, and one that does not know the whole past says so."""

from __future__ import annotations

import httpx
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.config.serving import Serving
from recsys.datatypes import Condition, Filter, RecQuery
from recsys.state import redis_keys
from tests.support.world import catalogue, event

SEA = Filter(must=(Condition("topic", "any", ("sea",)),))
NOWHERE = Filter(must=(Condition("topic", "any", ("nowhere",)),))
OF_THE_SEA = ("sea-0", "sea-1", "sea-2")


@pytest.fixture
async def world(make_world):
    """Twelve items, three of each topic; `all` has seen everything, `sailor` what is of the sea, `one` sea-0."""
    made = await make_world(items=catalogue(3), shards=2)
    seen = {"all": made.popular_ids(), "sailor": OF_THE_SEA, "one": ("sea-0",)}
    await made.gateway.record([event(u, i, type="view") for u, items in seen.items() for i in items])
    return made


REASONS = [
    (RecQuery(k=12), ()),
    (RecQuery(k=13), ("fewer_than_k",)),
    (RecQuery(k=3, filter=SEA), ()),
    (RecQuery(k=5, filter=SEA), ("fewer_than_k",)),
    (RecQuery(k=12, user_id="one"), ("fewer_than_k",)),
    (RecQuery(k=3, user_id="all"), ("everything_seen",)),
    (RecQuery(k=3, user_id="all", include_seen=True), ()),
    (RecQuery(k=3, user_id="nobody", filter=NOWHERE), ("filter_matches_nothing",)),
    (RecQuery(k=3, user_id="all", filter=NOWHERE, exclude=("sea-0",)), ("filter_matches_nothing",)),
    (RecQuery(k=3, user_id="sailor", filter=SEA), ("everything_seen",)),
    (RecQuery(k=3, user_id="sailor", filter=SEA, exclude=("sea-0",)), ("everything_seen",)),
    (RecQuery(k=3, user_id="one", filter=SEA, exclude=OF_THE_SEA), ("excluded",)),
    (RecQuery(k=3, filter=SEA, exclude=OF_THE_SEA), ("excluded",)),
    (RecQuery(k=5, scenario="rank", items=("ghost",), include_seen=True), ()),
]


async def test_why_a_slate_is_empty_or_short(world, subtests):
    """The first of filter, exclusions and seen items after which nothing is left is the reason."""
    for query, expected in REASONS:
        with subtests.test(query=query):
            assert (await world.gateway.recommend(query)).notes == expected


async def test_an_empty_catalogue_finds_nothing(make_world):
    """There is no restriction to blame."""
    made = await make_world(items=catalogue(1), shards=1)
    for item in made.items:
        await made.gateway.items.delete(item.item_id, wait_visible=True)
    assert (await made.gateway.recommend(RecQuery(k=3))).notes == ("nothing_found",)


async def test_a_history_that_was_cut_says_so(make_world):
    """Items that left it come back, and the answer says why; with the seen items included there is nothing to say."""
    made = await make_world(items=catalogue(12), shards=1, serving=Serving(budget_s=20, history=20))
    ids = made.popular_ids()
    await made.gateway.record([event("u", i, type="view") for i in ids[:19]])
    assert (await made.gateway.recommend(RecQuery(k=2, user_id="u"))).notes == ()
    await made.gateway.record([event("u", i, type="view") for i in ids[19:]])
    slate = await made.gateway.recommend(RecQuery(k=28, user_id="u"))
    assert {item.item_id for item in slate.items} == set(ids[:28])
    assert slate.notes == ("history_limit",)
    await made.gateway.record([event("u", ids[0], type="view")])  # folded onto what is cached
    assert (await made.gateway.recommend(RecQuery(k=1, user_id="u"))).notes == ("history_limit",)
    assert (await made.gateway.recommend(RecQuery(k=2, user_id="u", include_seen=True))).notes == ()
    await made.redis.delete(redis_keys.profile("u"))
    assert (await made.gateway.recommend(RecQuery(k=2, user_id="u"))).notes == ("history_limit",)


async def test_notes_are_in_the_answer_over_http(world):
    """As a list where there are some."""
    transport = httpx.ASGITransport(app=make_api(world.gateway, Gate(), Traces("r")))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        assert (await http.get("/v1/users/all/recommendations")).json()["notes"] == ["everything_seen"]
        assert "notes" not in (await http.get("/v1/users/nobody/recommendations")).json()
