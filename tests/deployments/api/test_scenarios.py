"""Scenarios over HTTP: one for each call, edited live, undone, and looked at before."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec import structs

from recsys.config.serving import Serving
from recsys.state.scenario_log import ScenarioLog
from tests.support.world import catalogue, event

FOREST = {"must": [{"key": "topic", "eq": "forest"}]}
SCENARIOS = "/v1/admin/scenarios"


async def edit(http: httpx.AsyncClient, scenarios: dict[str, Any], **more: Any) -> httpx.Response:
    return await http.patch(SCENARIOS, json={"scenarios": scenarios, **more})


async def shown(http: httpx.AsyncClient, **body: Any) -> list[str]:
    answer = await http.post("/v1/recommendations", json={"k": 8, **body})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def topics(ids: list[str]) -> set[str]:
    return {item_id.partition("-")[0] for item_id in ids}


async def test_an_edit_is_in_force_at_once_and_can_be_undone(make_http) -> None:
    """Each edit has a number, an author and a comment; to undo one is an edit as well."""
    http = await make_http()
    before = await shown(http)
    answer = await edit(http, {"home": {"filter": FOREST}}, author="ann", comment="autumn")
    assert (answer.json()["version"], answer.json()["author"], answer.json()["changed"]) == (1, "ann", ["home"])
    assert topics(await shown(http)) == {"forest"}
    await edit(http, {"home": {"diversity": 0.0}}, author="bob")
    assert topics(await shown(http)) == {"forest"}
    undone = (await http.post(f"{SCENARIOS}/undo", json={"author": "ann"})).json()
    assert (undone["version"], undone["comment"], undone["changed"]) == (3, "undoes 2", ["home"])
    listed = (await http.get(SCENARIOS)).json()
    assert listed["scenarios"]["home"]["filter"] == FOREST
    assert listed["scenarios"]["home"]["diversity"] == Serving().scenarios["home"].diversity
    assert [(one["version"], one["author"]) for one in listed["history"]] == [(3, "ann"), (2, "bob"), (1, "ann")]
    await edit(http, {"home": None})
    assert await shown(http) == before


async def test_the_status_names_what_no_config_file_changes_any_more(make_http) -> None:
    """An edited scenario stands as it was edited, whatever the file says later, until an edit gives it back."""
    http = await make_http()

    async def edited() -> tuple[list[str], Any]:
        status = (await http.get("/v1/status")).json()
        return status["edited_scenarios"], status["scenario_edit"]

    assert await edited() == ([], None)
    await edit(http, {"home": {"filter": FOREST}, "email": {}}, author="ann")
    names, last = await edited()
    assert (names, last["version"], last["author"]) == (["email", "home"], 1, "ann")
    file = Serving(budget_s=20)
    http.world.gateway.configure(file.model_copy(update={"taste_half_life": 5.0}))
    assert topics(await shown(http)) == {"forest"}
    await edit(http, {"home": None, "email": None})
    assert (await edited())[0] == []
    assert topics(await shown(http)) != {"forest"}


async def test_every_call_takes_a_scenario_of_its_kind(make_http) -> None:
    """One of the caller's own name, made live; one of another kind is refused with the names that there are."""
    http = await make_http()
    await edit(http, {f"my_{kind}": {"kind": kind, "filter": FOREST} for kind in ("home", "similar", "search", "rank")})
    calls: dict[str, tuple[str, str, dict[str, Any] | None]] = {
        "home": ("POST", "/v1/recommendations", {"k": 5}),
        "search": ("POST", "/v1/search", {"text": "bread", "k": 5}),
        "rank": ("POST", "/v1/rank", {"items": ["sea-1", "forest-1"]}),
        "similar": ("GET", "/v1/items/sea-1/similar?k=5", None),
    }
    for kind, (method, path, body) in calls.items():
        for other in calls:
            name = f"my_{other}"
            if body is None:
                answer = await http.request(method, f"{path}&scenario={name}")
            else:
                answer = await http.request(method, path, json={**body, "scenario": name})
            if kind != other:
                assert (answer.status_code, answer.json()["field"]) == (422, "scenario")
                assert f"my_{kind}" in answer.json()["detail"]
            else:
                assert answer.json()["scenario"] == name
                found = {item["item_id"] for item in answer.json()["items"]}
                assert found or kind == "similar"
                assert kind == "rank" or topics(sorted(found)) <= {"forest"}


WRONG_EDITS: list[tuple[dict[str, Any], str]] = [
        ({"home": {"diversity": 2}}, "scenarios.home.diversity"),
        ({"home": {"colour": 2}}, "scenarios.home.colour"),
        ({"home": {"filter": {"must": [{"key": "colour", "eq": "red"}]}}}, "scenarios.home.filter.must[0].key"),
        ({"home": {"rules": [{"name": "r", "kind": "boost"}]}}, "scenarios.home.rules[0]"),
        ({"home": {"rules": [{"name": "r", "kind": "pin", "filter": FOREST, "position": 0}]}},
         "scenarios.home.rules[0].position"),
        ({"mine": {"fallback": "nothing"}}, "scenarios.mine.fallback"),
        ({"mine": {"kind": "rank", "fallback": "home"}}, "scenarios.mine.fallback"),
        ({"home": {"weights": {"colour": 1}}}, "scenarios.home.weights.colour"),
    ]  # fmt: skip


async def test_an_edit_that_is_wrong_changes_nothing(make_http, subtests) -> None:
    """It is refused by its field, and so is a preview of it."""
    http = await make_http()
    before = (await http.get(SCENARIOS)).json()
    for scenarios, field in WRONG_EDITS:
        with subtests.test(field):
            for answer in (
                await edit(http, scenarios),
                await http.post(f"{SCENARIOS}/preview", json={"scenarios": scenarios, "scenario": "home"}),
            ):
                assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
            assert (await http.get(SCENARIOS)).json() == before


async def test_an_edit_of_what_has_changed_meanwhile_is_refused(make_http) -> None:
    """Where it names the edit that it has seen."""
    http = await make_http()
    assert (await edit(http, {"home": {"diversity": 0.2}}, version=0)).status_code == 200
    late = await edit(http, {"home": {"diversity": 0.9}}, version=0)
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert (await http.get(SCENARIOS)).json()["scenarios"]["home"]["diversity"] == 0.2
    assert (await http.post(f"{SCENARIOS}/undo", json={})).status_code == 200
    assert (await http.post(f"{SCENARIOS}/undo", json={})).json()["changed"] == ["home"]


async def test_a_preview_shows_the_slates_of_before_and_after_and_stores_nothing(make_http) -> None:
    """For users who came lately and for nobody in particular, or for those that are named."""
    http = await make_http()
    await http.world.gateway.record([event("sailor", "sea-1")])
    await http.world.counted()
    await shown(http, user_id="sailor")
    body = {"scenarios": {"home": {"filter": FOREST}}, "scenario": "home", "k": 4}
    answer = (await http.post(f"{SCENARIOS}/preview", json=body)).json()
    assert [one["user_id"] for one in answer["users"]] == ["sailor", None]
    for one in answer["users"]:
        assert topics([item["item_id"] for item in one["after"]]) == {"forest"}
        assert [item["item_id"] for item in one["before"]] == await shown(http, k=4, user_id=one["user_id"])
    new = {"scenarios": {"mine": {"kind": "search"}}, "scenario": "mine", "users": ["sailor"]}
    refused = await http.post(f"{SCENARIOS}/preview", json=new)
    assert (refused.status_code, refused.json()["field"]) == (422, "text")
    [told] = (await http.post(f"{SCENARIOS}/preview", json={**new, "text": "bread"})).json()["users"]
    assert (told["before"], bool(told["after"])) == (None, True)
    assert (await http.get(SCENARIOS)).json()["version"] == 0


async def test_other_composers_take_an_edit_over_and_a_wrong_one_changes_nothing(make_http, redis) -> None:
    """One that does not fit a composer's own attributes is told there, and what was in force before stays."""
    http = await make_http()
    other = await make_http()
    await edit(http, {"home": {"filter": FOREST}})
    await other.world.gateway.scenarios.look()
    assert topics(await shown(other)) == {"forest"}
    stored = await ScenarioLog(redis).read(1)
    wrong = {"home": {"filter": {"must": [{"key": "topic", "eq": 1}]}}}
    assert await ScenarioLog(redis).append(structs.replace(stored, version=2, scenarios=wrong))
    await other.world.gateway.scenarios.look()
    assert topics(await shown(other)) == {"forest"}
    told = (await other.get(SCENARIOS)).json()
    assert told["version"] == 1
    assert "scenarios.home.filter" in told["refused"]


async def test_the_schema_describes_a_scenario_down_to_its_rules(make_http) -> None:
    http = await make_http()
    schema = (await http.get(f"{SCENARIOS}/schema")).json()
    assert {"kind", "sources", "filter", "weights", "rules", "caps", "fallback", "rotation"} <= schema[
        "properties"
    ].keys()
    assert {"RuleIn", "FilterIn", "ConditionIn"} <= schema["$defs"].keys()


async def test_a_fallback_fills_a_slate_that_is_too_short(make_http) -> None:
    """With items of its own behind those of the scenario, none twice."""
    http = await make_http()
    rare = {"must": [{"key": "item_id", "any": ["forest-1", "forest-2"]}]}
    await edit(http, {"rare": {"filter": rare, "fallback": "home"}})
    answer = (await http.post("/v1/recommendations", json={"k": 8, "scenario": "rare"})).json()
    ids = [item["item_id"] for item in answer["items"]]
    assert set(ids[:2]) == {"forest-1", "forest-2"}
    assert len(ids) == len(set(ids)) == 8
    assert [item["rank"] for item in answer["items"]] == list(range(1, 9))
    assert answer["notes"] == ["filled_by_fallback"]


async def test_what_is_not_relevant_enough_is_left_out(make_http) -> None:
    """By the cosine to what was asked for, else to the taste; somebody who is not known has neither."""
    http = await make_http()
    await edit(http, {"search": {"min_relevance": 0.3}, "home": {"min_relevance": 0.3}})
    found = (await http.post("/v1/search", json={"text": "bread oven salt", "k": 40, "explain": True})).json()["items"]
    assert found
    assert all(item["signals"]["query"] >= 0.3 for item in found)
    assert len(found) < len(catalogue())
    assert len(await shown(http, k=30)) == 30
    await http.world.gateway.record([event("sailor", f"sea-{n}") for n in range(3)])
    mine = (await http.post("/v1/recommendations", json={"user_id": "sailor", "k": 40, "explain": True})).json()[
        "items"
    ]
    assert mine
    assert all(item["signals"]["taste"] >= 0.3 for item in mine)


async def test_what_was_shown_and_ignored_gives_way(make_http) -> None:
    """To items that were not shown; for that user alone, and an explanation says so."""
    http = await make_http()
    await edit(http, {"home": {"rotation": 5.0, "diversity": 0.0}})
    gateway = http.world.gateway
    await gateway.record([event("sailor", "sea-1"), event("baker", "sea-1")])
    await http.world.counted()
    pages = []
    for _ in range(3):
        pages.append(await shown(http, user_id="sailor", k=10))
        await gateway.rotation.noted()
    assert len({item_id for page in pages for item_id in page}) == 30
    assert await shown(http, user_id="baker", k=10) == pages[0]
    again = (await http.post("/v1/recommendations", json={"user_id": "sailor", "k": 47, "explain": True})).json()[
        "items"
    ]
    by_id = {item["item_id"]: item for item in again}
    for item_id in pages[0]:
        assert by_id[item_id]["contributions"]["rotation"] == pytest.approx(-2.5, abs=0.01)
        assert sum(by_id[item_id]["contributions"].values()) == pytest.approx(by_id[item_id]["score"], abs=1e-4)
