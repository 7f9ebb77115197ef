"""Requests of scenarios that try something: whose settings they get, what the log has of them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from recsys.answers import Recommendation, Slate
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.errors import BadInput
from recsys.ranking.scenarios import check
from recsys.serving.drawing import drawn
from recsys.statistics.team_draft import NEITHER
from tests.support.world import event

SEA, FOREST = ({"must": [{"key": "topic", "eq": topic}]} for topic in ("sea", "forest"))
USERS = [f"user-{n}" for n in range(60)]


def settings(home: dict, **more) -> Serving:
    plain = Serving(budget_s=20).model_dump(mode="json")
    plain["scenarios"]["home"] |= home
    plain["scenarios"] |= more
    return Serving.model_validate(plain)


def experiment(name="topics", kind="split", **more):
    variants = {"control": {"settings": {"filter": SEA}}, "woods": {"settings": {"filter": FOREST}}}
    return {"name": name, "kind": kind, "variants": variants} | more


def topics(slate: Slate) -> set[str]:
    return {item.item_id.partition("-")[0] for item in slate.items}


async def asked(world, user, n=0, **given):
    query = RecQuery(k=6, user_id=user, request_id=f"{user}:{n}", **given)
    return await world.gateway.recommend(query)


async def test_each_user_has_one_variant_and_the_log_names_it(make_world):
    """Halves of the users, each always the same; the settings of the variant and its name go together."""
    world = await make_world(serving=settings({"experiment": experiment()}))
    labels = {}
    for user in USERS:
        first, second = await asked(world, user), await asked(world, user, 1)
        assert first.variant == second.variant
        assert topics(first) == {"topics/control": {"sea"}, "topics/woods": {"forest"}}[first.variant]
        labels[user] = first.variant
    assert 15 < Counter(labels.values())["topics/woods"] < 45
    nobody = await world.gateway.recommend(RecQuery(k=6, request_id="nobody"))
    assert (nobody.variant, len(topics(nobody)) > 1) == ("", True)


async def test_who_is_outside_the_share_has_the_scenarios_own(make_world):
    world = await make_world(serving=settings({"experiment": experiment(share=0.3)}))
    slates = [await asked(world, user) for user in USERS]
    outside = [slate for slate in slates if not slate.variant]
    assert 30 < len(outside) < 55
    assert all(len(topics(slate)) > 1 for slate in outside)


async def test_a_stopped_variant_gives_its_users_to_the_control(make_world):
    """They are in the experiment no more, and nobody else moves."""
    given = experiment()
    world = await make_world(serving=settings({"experiment": given}))
    before = {user: (await asked(world, user)).variant for user in USERS}
    given["variants"]["control"]["settings"] = {}
    given["variants"]["woods"]["stopped"] = "too slow"
    world.gateway.configure(settings({"experiment": given}))
    for user in USERS:
        slate = await asked(world, user, 2)
        assert slate.variant == ("topics/control" if before[user] == "topics/control" else "")
        assert len(topics(slate)) > 1


async def test_an_interleaved_slate_is_made_of_both(make_world):
    """Items of both rankers in turns, each on its team, with nobody's propensity claimed."""
    world = await make_world(serving=settings({"experiment": experiment(kind="interleaving")}))
    slate = await asked(world, "anna")
    assert slate.variant == "topics/interleaved"
    assert slate.teams is not None
    teams = [{"sea": 0, "forest": 1}[item.item_id.partition("-")[0]] for item in slate.items]
    assert list(slate.teams) == teams
    assert sorted(teams) == [0, 0, 0, 1, 1, 1]
    assert [item.rank for item in slate.items] == [1, 2, 3, 4, 5, 6]
    assert slate.propensities is not None
    assert all(map(math.isnan, slate.propensities))
    same = settings({"experiment": experiment(kind="interleaving", variants={"a": {}, "b": {}})})
    world.gateway.configure(same)
    assert (await asked(world, "anna", 1)).teams == (NEITHER,) * 6


async def test_pages_are_of_the_users_variant(make_world):
    """Every page has its settings and its name; a page is never interleaved."""
    world = await make_world(serving=settings({"experiment": experiment()}))
    variants = {u: (await asked(world, u)).variant for u in USERS[:20]}
    user = next(u for u, variant in variants.items() if variant == "topics/woods")
    query = RecQuery(k=3, user_id=user, request_id="page")
    first = await world.gateway.page(query, "first")
    assert first.next_page is not None
    second = await world.gateway.page(query, first.next_page)
    for page in (first, second):
        assert (page.variant, topics(page)) == ("topics/woods", {"forest"})
    world.gateway.configure(settings({"experiment": experiment(kind="interleaving")}))
    page = await world.gateway.page(query, "first")
    assert (page.variant, page.teams) == ("", None)


async def test_drawn_places_are_logged_with_their_chance(make_world):
    """The same items, other places each time; without a request_id the best comes first."""
    world = await make_world(serving=settings({"temperature": 0.5, "diversity": 0.0}))
    await world.gateway.record([event("anna", "sea-0")])
    await world.counted()
    plain = await world.gateway.recommend(RecQuery(k=6, user_id="anna"))
    orders = set()
    for n in range(12):
        slate = await asked(world, "anna", n)
        assert {i.item_id for i in slate.items} == {i.item_id for i in plain.items}
        assert slate.propensities is not None
        assert all(0 < p <= 1 for p in slate.propensities)
        assert slate.propensities[-1] == pytest.approx(1.0)
        orders.add(tuple(item.item_id for item in slate.items))
    assert len(orders) > 3
    assert [i.score for i in plain.items] == sorted((i.score for i in plain.items), reverse=True)


def test_draws_have_the_propensities_that_they_claim():
    """Over 4,000 draws each item comes first as often as its propensity says."""
    items = tuple(Recommendation(f"i{n}", "", n + 1, score, "s", ()) for n, score in enumerate((2.0, 1.5, 0.5)))
    slate = Slate(items, "v", "m")
    firsts: Counter[str] = Counter()
    chance = {}
    for n in range(4000):
        told = drawn(slate, 0.7, n.to_bytes(4))
        assert told.propensities is not None
        firsts[told.items[0].item_id] += 1
        chance[told.items[0].item_id] = told.propensities[0]
    softmax = np.exp(np.array([2.0, 1.5, 0.5]) / 0.7)
    softmax /= softmax.sum()
    assert [chance[f"i{n}"] for n in range(3)] == pytest.approx(softmax.tolist())
    assert [firsts[f"i{n}"] / 4000 for n in range(3)] == pytest.approx(softmax.tolist(), abs=0.03)


REFUSED = [
    (
        {"home": {"experiment": experiment(variants={"a": {}, "b": {"settings": {"kind": "rank"}}})}},
        "settings.kind",
    ),
    ({"home": {"experiment": experiment(variants={"a": {}, "b": {"settings": {"divers": 1}}})}}, "settings.divers"),
    (
        {"home": {"experiment": experiment(variants={"a": {}, "b": {"settings": {"weights": {"tast": 1}}}})}},
        "scenarios.home:b.weights.tast",
    ),
    (
        {"home": {"experiment": experiment()}, "more": {"kind": "home", "experiment": experiment()}},
        "name",
    ),
    (
        {
            "home": {"experiment": experiment(layer="one", share=0.6)},
            "more": {"kind": "home", "experiment": experiment("other", layer="one", share=0.4, begins=0.5)},
        },
        "begins",
    ),
]


async def test_an_experiment_that_cannot_be_is_refused(make_world, subtests):
    """With the field, before anything is in force."""
    world = await make_world()
    for given, field in REFUSED:
        with subtests.test(field):
            with pytest.raises(BadInput) as told:
                check(settings(**given), world.platform)
            assert field in str(told.value.field)
