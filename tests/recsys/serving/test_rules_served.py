"""Rules of requests and scenarios, from the query to the slate, against a plain reading of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.answers import Recommendation
from recsys.config.scenarios import Scenario, Source
from recsys.config.serving import Serving
from recsys.data.rules import RuleIn, compile_rules
from recsys.datatypes import Condition, Filter, Item, RecQuery
from tests.support.threaded_world import ThreadedWorld
from tests.support.world import ATTRIBUTES, TOPICS, catalogue, event, eventually

HOUR_S = 3600.0
K = 100
"""Over the number of items: every slate has them all."""
CREATED = {item.item_id: item for item in catalogue()}


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedWorld]:
    """48 items in two shards, and a user who likes the sea."""
    narrow = Scenario(sources=(Source(source="popular", k=1),))
    timeless = {"taste": 1.0, "because": 0.3, "popularity": 0.4}  # scores that no passing of time changes
    home = Serving().scenarios["home"].model_copy(update={"weights": timeless})
    serving = Serving(budget_s=20, scenarios={**Serving().scenarios, "home": home, "narrow": narrow})
    with ThreadedWorld(tmp_path_factory.mktemp("rules"), serving=serving) as threaded:
        threaded.run(threaded.world.gateway.record([event("sailor", f"sea-{n}") for n in range(3)]))
        threaded.run(threaded.world.counted())
        yield threaded


def plain_match(item: Item, condition: dict[str, Any]) -> bool:
    """A condition, read plainly."""
    key, value = condition["key"], condition
    own = item.item_id if key == "item_id" else item.attributes[key]
    if "any" in value:
        return own in value["any"] if not isinstance(own, list) else any(word in value["any"] for word in own)
    return own >= value["gte"]


conditions = st.one_of(
    st.lists(st.sampled_from(list(TOPICS)), min_size=1, max_size=2).map(lambda v: {"key": "topic", "any": v}),
    st.integers(0, 11).map(lambda n: {"key": "number", "gte": n}),
    st.lists(st.sampled_from(["n0", "n1", "sea"]), min_size=1, max_size=2).map(lambda v: {"key": "tags", "any": v}),
    st.lists(st.sampled_from(sorted(CREATED)), min_size=1, max_size=3).map(lambda v: {"key": "item_id", "any": v}),
)
windows = st.sampled_from(
    [
        (None, None),
        (-HOUR_S, None),
        (HOUR_S, None),
        (None, -HOUR_S),
        (None, HOUR_S),
        (-HOUR_S, HOUR_S),
        (-2 * HOUR_S, -HOUR_S),
    ]
)
kinds = st.one_of(
    st.floats(0.01, 3).map(lambda w: {"kind": "boost", "weight": w}),
    st.floats(0.01, 3).map(lambda w: {"kind": "bury", "weight": w}),
    st.tuples(st.floats(0.01, 3), st.floats(HOUR_S, 1e9)).map(
        lambda v: {"kind": "fresh", "weight": v[0], "half_life_s": v[1]}
    ),
    st.integers(1, 12).map(lambda n: {"kind": "pin", "position": n}),
    st.floats(0.05, 1).map(lambda s: {"kind": "promote", "share": s}),
)
rules = st.tuples(kinds, conditions, windows)
queries = st.builds(
    lambda who, k: {"user_id": who[0], "scenario": who[1], "k": k},
    st.sampled_from([(None, "home"), ("sailor", "home"), ("sailor", "search")]),
    st.sampled_from([K, 10]),
)


def rule_of(number: int, drawn: Any, now: float) -> dict[str, Any]:
    kind, condition, (start, end) = drawn
    window = {"starts_at": None if start is None else now + start, "ends_at": None if end is None else now + end}
    return {"name": f"r{number}", "filter": {"must": [condition]}, **kind, **window}


def holds(rule: dict[str, Any], now: float) -> bool:
    return (rule["starts_at"] is None or rule["starts_at"] <= now) and (
        rule["ends_at"] is None or now < rule["ends_at"]
    )


def matched(rule: dict[str, Any], item_id: str) -> bool:
    return plain_match(CREATED[item_id], rule["filter"]["must"][0])


def added(rule: dict[str, Any], item_id: str, now: float) -> float:
    """What a rule adds to an item's score, read plainly."""
    if not holds(rule, now) or not matched(rule, item_id) or rule["kind"] in ("pin", "promote"):
        return 0.0
    if rule["kind"] != "fresh":
        return rule["weight"] if rule["kind"] == "boost" else -rule["weight"]
    age = max(now - (CREATED[item_id].created_at or 0.0), 0.0)
    return rule["weight"] * 0.5 ** (age / rule["half_life_s"])


async def whole(answers: Awaitable[list[Any]]) -> list[Any] | None:
    """The answers; None where a part was missing in one of them."""
    slates = await answers
    return None if any(one.degraded for one in slates) else slates


def slate(threaded: ThreadedWorld, given_rules: list[dict[str, Any]], **query: Any) -> list[Recommendation]:
    """Of a batch with others, so that rules of one request could reach another."""
    compiled = compile_rules([RuleIn.model_validate(rule) for rule in given_rules], ATTRIBUTES)
    mine = RecQuery(**{"diversity": 0.0, "include_seen": True, "explain": True, "rules": compiled, **query})
    other = RecQuery(**{"k": 3, "diversity": 0.0, **{key: query[key] for key in ("user_id", "scenario")}})
    gateway = threaded.world.gateway

    async def both() -> list[Any]:
        return await asyncio.gather(gateway.recommend(mine), gateway.recommend(other), gateway.recommend(mine))

    async def complete() -> list[Any]:
        """A busy machine may answer before the user's profile is there."""
        return await eventually(lambda: whole(both()))

    first, _, again = threaded.run(complete())
    assert [item.item_id for item in first.items] == [item.item_id for item in again.items]
    return list(first.items)


@settings(max_examples=50)
@given(st.lists(rules, max_size=4), queries)
def test_rules_do_what_they_say(threaded, drawn, query):
    """Scores, order, pins and shares are those of a plain reading: each rule in its window, on its matches alone."""
    now = time.time()
    mine = [rule_of(n, one, now) for n, one in enumerate(drawn)]
    base = {item.item_id: item for item in slate(threaded, [], **{**query, "k": K})}
    ruled = slate(threaded, mine, **{**query, "k": K})
    assert {item.item_id for item in ruled} >= base.keys()
    scores = {}
    for item in ruled:
        rules_part = sum(added(rule, item.item_id, now) for rule in mine)
        if item.item_id in base:
            assert item.score == pytest.approx(base[item.item_id].score + rules_part, abs=1e-4)
        assert item.contributions is not None
        assert sum(item.contributions.values()) == pytest.approx(item.score, abs=1e-4)
        named = {f"rule:{rule['name']}" for rule in mine if holds(rule, now) and matched(rule, item.item_id)}
        assert {name for name in item.signals or () if name.startswith("rule:")} == named
        scores[item.item_id] = item.score
    scoring = [rule for rule in mine if rule["kind"] not in ("pin", "promote")]
    order = [item.item_id for item in slate(threaded, scoring, **{**query, "k": K})]
    assert order == sorted(order, key=lambda i: -round(scores[i], 5))
    shown = [item.item_id for item in slate(threaded, mine, **query)]
    assert len(shown) == len(set(shown)) == min(query["k"], len(order))
    holding = [rule for rule in mine if holds(rule, now)]
    pinned: dict[int, str] = {}
    for rule in holding:
        if rule["kind"] != "pin":
            continue
        match = next((i for i in order if matched(rule, i) and i not in pinned.values()), None)
        free = [place for place in range(len(shown)) if place not in pinned]
        if match is not None and free:
            place = next((place for place in free if place >= rule["position"] - 1), free[-1])
            pinned[place] = match
            assert shown[place] == match
    promoting = [rule for rule in holding if rule["kind"] == "promote"]
    if not promoting:
        others = [i for i in order if i not in pinned.values()]
        assert [i for n, i in enumerate(shown) if n not in pinned] == others[: len(shown) - len(pinned)]
    if len(promoting) == 1:
        [rule] = promoting
        there = sum(matched(rule, i) for i in shown)
        wanted = min(int(rule["share"] * len(shown) + 0.5), sum(matched(rule, i) for i in order))
        room = sum(n not in pinned or matched(rule, i) for n, i in enumerate(shown))
        assert there >= min(wanted, room)


def test_what_a_rule_pins_is_there_whatever_the_sources_say(threaded):
    """An item that no source proposes; not where an exclusion, a filter or what the user has seen forbids it."""

    def shown(item_id: str, **query: Any) -> list[str]:
        pin = {"name": "p", "kind": "pin", "position": 2, "filter": {"must": [{"key": "item_id", "eq": item_id}]}}
        rules_given = [pin] if item_id else []
        found = slate(threaded, rules_given, **({"k": 3, "user_id": "sailor", "scenario": "narrow"} | query))
        return [item.item_id for item in found]

    plain = shown("")
    unseen = next(i for i in sorted(CREATED, reverse=True) if i not in shown("", k=6))
    assert shown(unseen) == [plain[0], unseen, plain[1]]
    assert unseen not in shown(unseen, exclude=(unseen,))
    assert unseen not in shown(unseen, filter=Filter(must_not=(Condition("item_id", "any", (unseen,)),)))
    assert shown("sea-1", include_seen=True)[1] == "sea-1"
    assert "sea-1" not in shown("sea-1", include_seen=False)


async def topics(world: Any, **query: Any) -> set[str]:
    """Of the items of a slate."""
    found = await world.gateway.recommend(RecQuery(k=8, diversity=0.0, **query))
    return {item.item_id.partition("-")[0] for item in found.items}


async def test_a_scenarios_rules_hold_for_all_its_requests_and_a_request_may_replace_one(make_world):
    """By its name; what `rank` is asked for is boosted and pinned as well."""
    boost = {"name": "sale", "kind": "boost", "weight": 50, "filter": {"must": [{"key": "topic", "eq": "forest"}]}}
    scenarios = Serving().scenarios
    world = await make_world(
        serving=Serving(
            budget_s=20,
            scenarios={
                **scenarios,
                "home": scenarios["home"].model_copy(update={"rules": (boost,)}),
                "rank": Scenario(sources=(), rules=(boost,)),
            },
        )
    )
    assert await topics(world) == {"forest"}
    other = {**boost, "filter": {"must": [{"key": "topic", "eq": "kitchen"}]}}
    assert await topics(world, rules=compile_rules([RuleIn.model_validate(other)], ATTRIBUTES)) == {"kitchen"}
    ranked = await world.gateway.recommend(RecQuery(k=2, scenario="rank", items=("sea-1", "forest-9")))
    assert [item.item_id for item in ranked.items] == ["forest-9", "sea-1"]
