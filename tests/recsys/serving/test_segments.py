"""Popularity by segment: counted as popularity is, bounded, and shown to users without likes."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.platform import Platform
from recsys.config.scenarios import Segments
from recsys.config.serving import Serving
from recsys.datatypes import Condition, Filter, RecQuery
from recsys.errors import BadInput
from recsys.ranking.scenarios import check
from recsys.state import redis_keys
from recsys.state.segment_counts import most_liked
from tests.support.world import event

DECLARED = {"country": "keyword", "vip": "boolean", "age": "number"}
_runs = itertools.count()


def serving(**given) -> Serving:
    return Serving(budget_s=20, segments=Segments(**{"attribute": "country"} | given))


@pytest.fixture
async def world(make_world):
    return await make_world(user_attributes=DECLARED, serving=serving())


async def live_in(world, country: str, *users: str) -> None:
    for user in users:
        await world.gateway.user_records.describe(user, {"country": country}, whole=True)


async def ids(world, user: str | None, **query) -> list[str]:
    await world.gateway.look_at_segments()
    slate = await world.gateway.recommend(RecQuery(**{"k": 6, "diversity": 0.0, "user_id": user, **query}))
    assert slate.degraded == ()
    return [item.item_id for item in slate.items]


async def test_a_user_without_likes_gets_what_is_liked_in_the_segment(world) -> None:
    """First of all; users of another segment, of none, or with likes do not. Every part of a score is explained."""
    await live_in(world, "de", "a", "b", "new")
    await live_in(world, "fr", "c", "d", "e", "stranger")
    await world.gateway.record([event(user, item) for user in "ab" for item in ("kitchen-7", "kitchen-8")])
    await world.gateway.record([event(user, item) for user in "cde" for item in ("sea-9", "sea-10", "sea-11")])
    await world.counted()
    assert set((await ids(world, "new"))[:2]) == {"kitchen-7", "kitchen-8"}
    assert {"kitchen-7", "kitchen-8"}.isdisjoint((await ids(world, "stranger"))[:3])
    assert await ids(world, None) == await ids(world, "nobody")
    slate = await world.gateway.recommend(RecQuery(k=4, user_id="new", explain=True))
    first = slate.items[0]
    assert first.contributions["segment"] == pytest.approx(0.5)
    assert sum(first.contributions.values()) == pytest.approx(first.score, abs=1e-5)
    before = await world.gateway.recommend(RecQuery(k=6, user_id="a", explain=True))
    assert all("segment" not in item.contributions for item in before.items)


async def test_filters_and_exclusions_hold_for_them(world) -> None:
    """They are candidates like others."""
    await live_in(world, "de", "a", "new")
    await world.gateway.record([event("a", item) for item in ("kitchen-7", "kitchen-8", "sea-3")])
    await world.counted()
    sea = Filter(must=(Condition("topic", "any", values=("sea",)),))
    assert (await ids(world, "new", filter=sea))[0] == "sea-3"
    assert "kitchen-7" not in await ids(world, "new", exclude=("kitchen-7",), k=40)
    assert await ids(world, "new", like_item="forest-1", scenario="similar") == await ids(
        world, None, like_item="forest-1", scenario="similar"
    )


async def test_a_dislike_and_an_erasure_take_back(world) -> None:
    """And a user who moves counts in the new segment from then on."""
    await live_in(world, "de", "a", "b")
    await world.gateway.record([event("a", "sea-1"), event("a", "sea-2"), event("b", "sea-1"), event("b", "sea-1")])

    async def liked() -> dict[str, dict[str, float]]:
        return {value: dict(rows) for value, rows in (await most_liked(world.redis, 10)).items()}

    assert await liked() == {'"de"': {"sea-1": 2.0, "sea-2": 1.0}}
    await world.gateway.record([event("a", "sea-2", type="dislike")])
    assert await liked() == {'"de"': {"sea-1": 2.0}}
    await world.gateway.user_records.erase("a")
    assert await liked() == {'"de"': {"sea-1": 1.0}}
    await live_in(world, "fr", "b")
    await world.gateway.record([event("b", "sea-3")])
    assert (await liked())['"fr"'] == {"sea-3": 1.0}
    gone = event("b", "sea-4")
    await world.gateway.record([gone])
    await world.gateway.user_records.forget("b", gone.event_id)
    assert (await liked())['"fr"'] == {"sea-3": 1.0}


WORDS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["sea-1", "sea-2", "oak"]),
        st.sampled_from(["view", "like", "dislike"]),
    ),
    max_size=25,
)


@settings(max_examples=25)
@given(WORDS)
async def test_the_counts_are_those_of_the_newest_words(world, words) -> None:
    """Against a plain reading: of each user's word about an item since the last one against it, the strongest."""
    run = f"r{next(_runs)}"
    await live_in(world, run, *(f"{run}{user}" for user in "ab"))
    await live_in(world, f"{run}x", *(f"{run}{user}" for user in "cd"))
    strongest: dict[tuple[str, str], float] = defaultdict(float)
    weights = {"view": 0.2, "like": 1.0, "dislike": 0.0}
    for user, item, kind in words:
        weight = weights[kind]
        strongest[user, item] = max(strongest[user, item], weight) if weight else 0.0
        await world.gateway.record([event(f"{run}{user}", item, type=kind)])
    expected: dict[str, dict[str, float]] = {run: defaultdict(float), f"{run}x": defaultdict(float)}
    for (user, item), weight in strongest.items():
        if weight:
            expected[run if user in "ab" else f"{run}x"][item] += weight
    liked = await most_liked(world.redis, 10)
    for value, items in expected.items():
        assert dict(liked.get(f'"{value}"', ())) == pytest.approx(dict(items), abs=1e-5)


async def test_segments_and_their_items_are_bounded(make_world) -> None:
    """The first values count, and the most liked items stay."""
    world = await make_world(user_attributes=DECLARED, serving=serving(most=2, items=50))
    for n, country in enumerate(("de", "fr", "it")):
        await live_in(world, country, f"u{n}")
        await world.gateway.record([event(f"u{n}", "sea-1")])
    assert set(await most_liked(world.redis, 9)) == {'"de"', '"fr"'}
    await live_in(world, "de", "v")
    await world.gateway.record([event("v", "sea-1"), *(event("v", f"thing-{n}", type="view") for n in range(90))])
    key = redis_keys.segment('"de"')
    assert 50 <= await world.redis.zcard(key) <= 55
    assert (await most_liked(world.redis, 1))['"de"'] == [("sea-1", 2.0)]
    assert await world.redis.ttl(key) > 86_400


async def test_nothing_is_counted_where_no_attribute_is_named(make_world) -> None:
    world = await make_world(user_attributes=DECLARED)
    await live_in(world, "de", "a")
    await world.gateway.record([event("a", "sea-1")])
    assert await most_liked(world.redis, 9) == {}
    assert world.gateway.segments is None


@pytest.mark.parametrize("attribute", ["colour", "age"])
def test_an_attribute_that_cannot_divide_users_is_refused(attribute) -> None:
    with pytest.raises(BadInput, match=r"segments\.attribute"):
        check(serving(attribute=attribute), Platform(user_attributes=DECLARED))
