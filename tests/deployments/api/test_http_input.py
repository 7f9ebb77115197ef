"""Wrong input over HTTP: refused alike by every route, in one wording, at a price that does not grow with it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.routing import Route

from recsys.data.filters import FilterIn, compile_filter
from tests.support.wrong_calls import ELEMENTS, GOOD, JSON, call, wrong

asking = pytest.mark.asyncio(loop_scope="module")


async def routes(http: httpx.AsyncClient) -> list[tuple[str, str]]:
    """(method, path) of every call of the API; pages that show it are none."""
    paths = (await http.get("/openapi.json")).json()["paths"]
    found = [(method.upper(), path) for path, operations in paths.items() for method in operations]
    assert len(found) >= 17
    return sorted(found)


@asking
async def test_every_route_is_made_once(standing_http):
    """Those of a router that is included FastAPI makes anew at the first request, which would wait for all of them."""
    http = standing_http
    assert len(await routes(http)) <= len(http.front.routes)
    assert all(isinstance(route, Route) for route in http.front.routes)


@asking
async def test_every_route_refuses_a_parameter_that_it_does_not_have(standing_http):
    """`exclude` belongs to bodies: told, and not passed over in silence."""
    http = standing_http
    for method, path in await routes(http):
        found = wrong(await call(http, method, path, query="?exclude=2"), "exclude", "unknown_field")
        assert "parameters" in found["detail"]


@asking
async def test_a_parameter_that_is_given_twice_is_refused(standing_http):
    http = standing_http
    for path in ("/v1/users/{user_id}/recommendations", "/v1/items/{item_id}/similar"):
        wrong(await call(http, "GET", path, query="?k=1&k=2"), "k", "bad_input")


HALF = "half an emoji \ud83d"
SEA = {"key": "topic", "eq": "sea"}
CONDITIONS: list[tuple[dict[str, Any], str]] = [
    ({"key": "topic", "eq": HALF}, ".eq"), ({"key": "topic", "eq": ["sea"]}, ".eq"),
    ({"key": "topic", "eq": True}, ".topic"), ({"key": "topic", "eq": "x" * 257}, ".eq"),
    ({"key": "topic", "any": ["sea", HALF]}, ".any[1]"), ({"key": "topic", "any": ["sea", {}]}, ".any[1]"),
    ({"key": "number", "gte": [1]}, ".gte"), ({"key": "number", "gte": 1, "lt": HALF}, ".lt"),
    ({"key": HALF, "eq": 1}, ".key"), ({"key": 5, "eq": 1}, ".key"), ({"eq": 1}, ".key"),
    ({"key": "colour", "eq": 1}, ".key"), ({"key": "topic", "equals": 1}, ".equals"), ({"key": "topic"}, ""),
    ({"key": "topic", "exists": 1}, ".exists"),
]  # fmt: skip
WRONG: dict[str, list[tuple[Any, str]]] = {
    # path: fields put into a good body, and the field that is wrong then
    "/v1/recommendations": [
        ({"k": "1"}, "k"), ({"k": 0}, "k"), ({"k": 101}, "k"), ({"k": 1.5}, "k"), ({"user_id": HALF}, "user_id"),
        ({"scenario": HALF}, "scenario"), ({"scenario": 5}, "scenario"), ({"scenario": "x" * 65}, "scenario"),
        ({"exclude": ["a", HALF]}, "exclude[1]"), ({"exclude": "a"}, "exclude"), ({"exclude": [{}]}, "exclude[0]"),
        ({"diversity": "1"}, "diversity"), ({"diversity": 2}, "diversity"), ({"explain": 1}, "explain"),
        ({"filter": []}, "filter"), ({"filter": {"might": []}}, "filter.might"),
        ({"filter": {"must": [SEA] * 33}}, "filter.must"),
        *(({"filter": {"must": [SEA, condition]}}, f"filter.must[1]{at}") for condition, at in CONDITIONS),
    ],
    "/v1/recommendations/batch": [
        ({"users": ["a", HALF]}, "users[1]"), ({"users": []}, "users"), ({"users": ["a"] * 101}, "users"),
        ({"users": "a"}, "users"), ({"k": 101}, "k"), ({"scenario": "search"}, "scenario"), ({"context": 5}, "context"),
        ({"filter": {"must": [SEA] * 33}}, "filter.must"), ({"explain": 1}, "explain"),
        ({"context": {"a": 1}}, "context.a"),
    ],
    "/v1/pages": [
        ({"rows": []}, "rows"), ({"rows": [{}] * 21}, "rows"), ({"rows": [5]}, "rows[0]"),
        ({"user_id": HALF}, "user_id"), ({"rows": [{}, {"k": 0}]}, "rows[1].k"),
        ({"rows": [{"k": 101}]}, "rows[0].k"), ({"rows": [{"k": 100}] * 4}, "rows"),
        ({"rows": [{}, {"scenario": "none"}]}, "rows[1].scenario"), ({"rows": [{"nonsense": 1}]}, "rows[0].nonsense"),
        ({"rows": [{"scenario": "search"}]}, "rows[0].text"), ({"rows": [{"text": "sea"}]}, "rows[0].text"),
        ({"rows": [{"scenario": "similar"}]}, "rows[0].item_id"), ({"rows": [{"item_id": "a"}]}, "rows[0].item_id"),
        ({"rows": [{"scenario": "rank"}]}, "rows[0].items"), ({"rows": [{"items": ["a"]}]}, "rows[0].items"),
        ({"rows": [{"scenario": "search", "text": " "}]}, "rows[0].text"),
        ({"rows": [{"scenario": "search", "text": "x" * 2001}]}, "rows[0].text"),
        ({"rows": [{"exclude": ["a"] * 1001}]}, "rows[0].exclude"),
        ({"rows": [{"filter": {"must": [{"key": "colour", "eq": 1}]}}]}, "rows[0].filter.must[0].key"),
        ({"rows": [{"rules": [{"name": "a", "kind": "pin"}]}]}, "rows[0].rules[0]"),
        ({"events": [{"item_id": "a", "type": "sniff"}]}, "events[0].type"), ({"context": {"a": 1}}, "context.a"),
    ],
    "/v1/admin/scenarios": [
        ({"scenarios": {}}, "scenarios"), ({"scenarios": {"home": 5}}, "scenarios.home"), ({"author": HALF}, "author"),
        ({"scenarios": {"home": {"explore": HALF}}}, "scenarios.home.explore"), ({"version": "1"}, "version"),
        ({"scenarios": {"home": {"rules": [{"name": HALF, "kind": "pin"}]}}}, "scenarios.home.rules[0].name"),
    ],
    "/v1/admin/scenarios/undo": [({"author": 5}, "author")],
    "/v1/admin/scenarios/preview": [
        ({"users": [HALF]}, "users[0]"), ({"k": 0}, "k"), ({"scenario": "nothing"}, "scenario"), ({"text": ""}, "text"),
    ],
    "/v1/users/{user_id}": [({"attributes": []}, "attributes"), ({"attributes": {"colour": 1}}, "attributes.colour")],
    "/v1/users/{user_id}/merge": [({"from_user": HALF}, "from_user"), ({"from_user": ""}, "from_user")],
    "/v1/search": [({"text": text}, "text") for text in ("", " ", HALF, 5, None, "x" * 2001)],
    "/v1/rank": [
        ({"items": ["a", HALF]}, "items[1]"), ({"items": ["a", 5]}, "items[1]"), ({"items": []}, "items"),
        ({"items": {}}, "items"), ({"items": ["x" * 129]}, "items[0]"),
    ],
    "/v1/events": [({"events": {}}, "events"), ({"events": None}, "events")],
    "/v1/items": [({"items": {}}, "items"), ({"items": "a"}, "items")],
    "/v1/items/{item_id}": [
        ({"title": HALF}, "title"), ({"title": 5}, "title"), ({"text": HALF}, "text"), ({"item_id": "b"}, "item_id"),
        ({"created_at": HALF}, "created_at"), ({"attributes": []}, "attributes"), ({"title": ""}, "body"),
        *(
            ({"attributes": {name: value}}, f"attributes.{name}")
            for name, value in (
                ("topic", HALF), ("topic", {}), ("topic", 5), ("tags", ["a", HALF]), ("tags", ["a", 5]),
                ("number", True), ("number", "1"), ("tags", ["a"] * 257), ("colour", 1),
            )
        ),
    ],
    "/v1/admin/promote": [
        ({"version": 5}, "version"), ({"version": HALF}, "version"), ({"allow_shrink": 1}, "allow_shrink"),
    ],
    "/v1/admin/experiments": [({"scenario": 5}, "scenario"), ({"author": 5}, "author"), ({"dry_run": 1}, "dry_run")],
    "/v1/admin/experiments/{name}": [({"share": 0}, "share"), ({"share": HALF}, "share"), ({"author": 5}, "author")],
    "/v1/admin/experiments/{name}/stop": [({"keep": 5}, "keep"), ({"reason": 5}, "reason")],
    "/v1/admin/scale": [({"min_replicas": "1"}, "min_replicas"), ({"deployment": HALF}, "deployment")],
    "/v1/admin/hold": [({"held": 1}, "held"), ({"held": None}, "held"), ({"deployment": HALF}, "deployment")],
}  # fmt: skip


@asking
async def test_every_route_names_the_wrong_field_as_users_write_it(standing_http):
    """Bodies of every call, each with one field wrong: no name of pydantic's own, nothing that UTF-8 cannot carry."""
    http = standing_http
    taking = [(m, path) for m, path in await routes(http) if m in ("POST", "PUT", "PATCH")]
    taking.remove(("PATCH", "/v1/items/{item_id}"))  # what it leaves out stays as it was
    taking.remove(("POST", "/v1/admin/rollback"))  # it takes no body
    assert {path for _, path in taking} == WRONG.keys() == GOOD.keys()  # a new call belongs into both
    for method, path in taking:
        for fields, field in [*WRONG[path], ({"nonsense": 1}, "nonsense")]:
            answer = await call(http, method, path, {**GOOD[path], **fields})
            assert wrong(answer)["field"] == field, (path, fields, answer.text)
        for whole in ([], "x", 5):
            wrong(await call(http, method, path, whole), "body")
        for name in GOOD[path].keys() - {"k", "title"}:
            answer = await call(http, method, path, {k: v for k, v in GOOD[path].items() if k != name})
            wrong(answer, name, "missing")


@asking
async def test_a_filter_in_a_query_string_is_told_alike(standing_http):
    http = standing_http
    for path in ("/v1/users/{user_id}/recommendations", "/v1/items/{item_id}/similar"):
        for condition, at in CONDITIONS:
            if "ud83d" not in json.dumps(condition):
                query = "?" + urlencode({"filter": json.dumps({"must": [SEA, condition]})})
                wrong(await call(http, "GET", path, query=query), f"filter.must[1]{at}")
        for text in ("{", "5", '{"must": [{"key": "\\ud83d", "eq": 1}]}'):
            wrong(await call(http, "GET", path, query="?" + urlencode({"filter": text})), "filter")


@pytest.mark.parametrize("what", ["events", "items"])
@asking
async def test_a_bulk_of_which_nothing_is_right_is_a_wrong_call(standing_http, what):
    """422 with what is wrong of each; an empty one is no wrong call."""
    http = standing_http
    answer = await call(http, "POST", f"/v1/{what}", {what: [{}, 5]})
    found = wrong(answer, what, "all_refused")
    assert [one["index"] for one in found["refused"]] == [0, 1]
    assert (found["refused_count"], found["refused_indexes"]) == (2, [0, 1])
    assert (await call(http, "POST", f"/v1/{what}", {what: []})).status_code == 200


@asking
async def test_a_body_that_is_no_utf8_is_refused(standing_http):
    http = standing_http
    for body in (b"\xff\xfe", '{"events": []}'.encode("utf-16")):
        wrong(await http.post("/v1/events", content=body, headers=JSON), "body", "malformed_json")
    answer = await http.post("/v1/events", content='{"events": []}'.encode("utf-8-sig"), headers=JSON)
    assert answer.status_code == 200


@pytest.mark.parametrize("what", ["events", "items"])
async def test_one_fault_has_one_wording_in_a_bulk_and_alone(make_http, what):
    """A bulk names the field of the element, and says what the call for one item says."""
    http = await make_http()
    good = ELEMENTS[what]
    faults: list[dict[str, Any]] = [{**good, "nonsense": 1}, {**good, "item_id": 5}, {**good, "item_id": "\ud83d"}]
    if what == "items":
        faults += [{**good, "attributes": {"number": "x"}}, {**good, "attributes": {"colour": 1}}, {**good, "title": 5}]
        faults += [{**good, "attributes": {"\ud83d": 1}}, {**good, "\ud83d": 1}, {"item_id": "i"}]
    answer = await call(http, "POST", f"/v1/{what}", {what: [good, *faults]})
    assert answer.status_code == 200, answer.text
    refused = answer.json()["refused"]
    assert [one["index"] for one in refused] == list(range(1, len(faults) + 1))
    if what == "events":
        return
    for body, one in zip(faults, refused, strict=True):
        alone = await call(http, "PUT", "/v1/items/{item_id}", {k: v for k, v in body.items() if k != "item_id"})
        if one["field"] == "item_id":
            continue
        problem = alone.json()
        assert (problem["field"], problem["code"]) == (one["field"] or "body", one["code"])
        assert problem["detail"].removeprefix("body: ") == one["message"]


async def test_text_that_utf8_cannot_carry_sinks_neither_a_bulk_nor_a_search(make_http):
    """Half of an emoji in any part of an item is refused by field, and the good ones are written."""
    http = await make_http()
    half = "\ud83d"
    bad = [
        {"item_id": "x", "title": half}, {"item_id": "x", "title": "t", "text": half},
        {"item_id": "x", "title": "t", "attributes": {"topic": half}},
        {"item_id": "x", "title": "t", "attributes": {"tags": ["a", half]}},
        {"item_id": "x", "title": "t", "attributes": {half: 1}}, {"item_id": half, "title": "t"},
        {"item_id": "x", "title": "t", half: 1}, {"item_id": "x", "title": "t", "created_at": half},
    ]  # fmt: skip
    answer = await call(http, "POST", "/v1/items", {"items": [*bad, {"item_id": "good", "title": "sea"}]})
    assert [one["item_id"] for one in answer.json()["written"]] == ["good"]
    assert [one["index"] for one in answer.json()["refused"]] == list(range(len(bad)))
    event = ELEMENTS["events"]
    events = [event, *({**event, name: half} for name in (*event, "request_id", "timestamp", "value"))]
    answer = await call(http, "POST", "/v1/events", {"events": events})
    assert (answer.json()["accepted"], answer.json()["refused_count"]) == (1, 7)


def test_numbers_of_a_filter_keep_their_value():
    """A number that is whole, and one that is not, mean the same in eq as in any."""
    given_filter = FilterIn.model_validate({"must": [{"key": "n", "eq": 3}, {"key": "n", "any": [3, 2.5]}]})
    compiled = compile_filter(given_filter, {"n": "number"})
    assert compiled is not None
    assert [condition.values for condition in compiled.must] == [(3.0,), (3.0, 2.5)]
