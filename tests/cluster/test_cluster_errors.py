"""Every wrong input has its answer: a problem+json (RFC 9457) that names the field, and never a 500."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.live import Live

pytestmark = pytest.mark.cluster

RECOMMEND = "/v1/recommendations"
OF_USER = "/v1/users/196/recommendations"
JSON = {"content-type": "application/json"}


def problem(answer: httpx.Response, status: int, code: str, field: str | None) -> dict[str, Any]:
    """The body of an error, which must have this form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body.get("field")) == (status, code, field)
    assert body["title"]
    assert body["type"] == "about:blank"
    assert body["detail"].startswith(field or "")
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def condition(**test: Any) -> dict[str, Any]:
    return {"filter": {"must": [test]}}


BODIES: dict[str, tuple[str, Any, str, str]] = {
    # what is wrong: (path, body, code, field)
    "k of 0": (RECOMMEND, {"k": 0}, "bad_input", "k"),
    "a negative k": (RECOMMEND, {"k": -1}, "bad_input", "k"),
    "k over the limit": (RECOMMEND, {"k": 101}, "bad_input", "k"),
    "k is a word": (RECOMMEND, {"k": "ten"}, "bad_input", "k"),
    "k is half": (RECOMMEND, {"k": 1.5}, "bad_input", "k"),
    "k is null": (RECOMMEND, {"k": None}, "bad_input", "k"),
    "a search's k": ("/v1/search", {"text": "x", "k": 101}, "bad_input", "k"),
    "the user is a number": (RECOMMEND, {"user_id": 196}, "bad_input", "user_id"),
    "the user is empty": (RECOMMEND, {"user_id": ""}, "bad_input", "user_id"),
    "the user is of 129 bytes": (RECOMMEND, {"user_id": "x" * 129}, "bad_input", "user_id"),
    "the user is of 65 characters and 130 bytes": (RECOMMEND, {"user_id": "é" * 65}, "bad_input", "user_id"),
    "the user holds a line break": (RECOMMEND, {"user_id": "a\nb"}, "bad_input", "user_id"),
    "k is true": (RECOMMEND, {"k": True}, "bad_input", "k"),
    "k is a numeral": ("/v1/search", {"text": "x", "k": "5"}, "bad_input", "k"),
    "diversity is false": (RECOMMEND, {"diversity": False}, "bad_input", "diversity"),
    "explain is 0": (RECOMMEND, {"explain": 0}, "bad_input", "explain"),
    "explain is a word": ("/v1/rank", {"items": ["1"], "explain": "no"}, "bad_input", "explain"),
    "an unknown field": (RECOMMEND, {"user": "196"}, "unknown_field", "user"),
    "an unknown scenario": (RECOMMEND, {"scenario": "away"}, "bad_input", "scenario"),
    "diversity over 1": (RECOMMEND, {"diversity": 1.01}, "bad_input", "diversity"),
    "diversity is a word": (RECOMMEND, {"diversity": "much"}, "bad_input", "diversity"),
    "an id to exclude is empty": (RECOMMEND, {"exclude": ["1", ""]}, "bad_input", "exclude[1]"),
    "a list for a body": (RECOMMEND, [], "bad_input", "body"),
    "null for a body": (RECOMMEND, None, "missing", "body"),
    "the filter is a word": (RECOMMEND, {"filter": "year > 1990"}, "bad_input", "filter"),
    "the filter's part is unknown": (RECOMMEND, {"filter": {"might": []}}, "unknown_field", "filter.might"),
    "the filter's part is no list": (RECOMMEND, {"filter": {"must": {}}}, "bad_input", "filter.must"),
    "a condition without a test": (RECOMMEND, condition(key="year"), "bad_input", "filter.must[0]"),
    "a condition with two tests": (RECOMMEND, condition(key="year", eq=1, gt=1), "bad_input", "filter.must[0]"),
    "a condition without a key": (RECOMMEND, condition(eq=1), "missing", "filter.must[0].key"),
    "an undeclared attribute": (
        RECOMMEND, condition(key="colour", eq="red"), "undeclared_attribute", "filter.must[0].key",
    ),
    "a range of keywords": (RECOMMEND, condition(key="genres", gte=1), "bad_input", "filter.must[0]"),
    "a year in words": (RECOMMEND, condition(key="year", eq="MCMXC"), "bad_input", "filter.must[0].year"),
    "a genre as a number": (RECOMMEND, condition(key="genres", eq=5), "bad_input", "filter.must[0].genres"),
    "a date in words": (RECOMMEND, condition(key="released_at", gt="soon"), "bad_input", "filter.must[0].released_at"),
    "33 conditions": (RECOMMEND, {"filter": {"must": [{"key": "year", "gt": 1}] * 33}}, "bad_input", "filter.must"),
    "an empty search": ("/v1/search", {"text": ""}, "bad_input", "text"),
    "a blank search": ("/v1/search", {"text": " \n"}, "bad_input", "text"),
    "no search": ("/v1/search", {}, "missing", "text"),
    "a search over the limit": ("/v1/search", {"text": "x" * 2001}, "bad_input", "text"),
    "nothing to rank": ("/v1/rank", {"items": []}, "bad_input", "items"),
    "events are no list": ("/v1/events", {"events": {}}, "bad_input", "events"),
    "items are missing": ("/v1/items", {}, "missing", "items"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", BODIES)
def test_a_wrong_body_is_refused_by_field(live: Live, wrong: str) -> None:
    path, body, code, field = BODIES[wrong]
    problem(live.http.post(path, json=body), 422, code, field)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (RECOMMEND, {"exclude": ["1"] * 1001}, "exclude"),
        ("/v1/rank", {"items": ["1"] * 1001}, "items"),
        ("/v1/events", {"events": [{}] * 1001}, "events"),
        ("/v1/items", {"items": [{}] * 1001}, "items"),
    ],
)
def test_a_list_over_its_limit_is_refused_whole(live: Live, path: str, body: dict[str, Any], field: str) -> None:
    assert "1000" in problem(live.http.post(path, json=body), 413, "too_large", field)["detail"]


QUERIES: dict[str, tuple[dict[str, str], str, str]] = {
    "k of 0": ({"k": "0"}, "bad_input", "k"),
    "k over the limit": ({"k": "101"}, "bad_input", "k"),
    "k is a word": ({"k": "ten"}, "bad_input", "k"),
    "k is empty": ({"k": ""}, "bad_input", "k"),
    "diversity is not a number": ({"diversity": "nan"}, "bad_input", "diversity"),
    "explain is no yes or no": ({"explain": "perhaps"}, "bad_input", "explain"),
    "the filter is no JSON": ({"filter": "{"}, "bad_input", "filter"),
    "the filter is a number": ({"filter": "1"}, "bad_input", "filter"),
    "the filter has a wrong part": ({"filter": '{"must": [{"key": 1}]}'}, "bad_input", "filter.must[0].key"),
    "an undeclared attribute": (
        {"filter": '{"must": [{"key": "colour", "eq": "red"}]}'}, "undeclared_attribute", "filter.must[0].key",
    ),
    "a parameter that is not known": ({"exclude": "2"}, "unknown_field", "exclude"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", QUERIES)
def test_a_wrong_parameter_is_refused_by_name(live: Live, wrong: str) -> None:
    parameters, code, field = QUERIES[wrong]
    problem(live.http.get(OF_USER, params=parameters), 422, code, field)


ITEMS: dict[str, tuple[str, Any, str, str]] = {
    "no title and no text": ("a", {}, "bad_input", "body"),
    "blank texts": ("a", {"title": " ", "text": "\n"}, "bad_input", "body"),
    "the title is a number": ("a", {"title": 5}, "bad_input", "title"),
    "the title is over the limit": ("a", {"title": "x" * 20_001}, "too_large", "title"),
    "the text is over the limit": ("a", {"text": "x" * 20_001}, "too_large", "text"),
    "the body names another item": ("a", {"item_id": "b", "title": "x"}, "bad_input", "item_id"),
    "an undeclared attribute": (
        "a", {"title": "x", "attributes": {"colour": "red"}}, "undeclared_attribute", "attributes.colour",
    ),
    "a number as text": ("a", {"title": "x", "attributes": {"year": "1990"}}, "bad_input", "attributes.year"),
    "a list as text": ("a", {"title": "x", "attributes": {"genres": "Drama"}}, "bad_input", "attributes.genres"),
    "a wrong date": ("a", {"title": "x", "created_at": "yesterday"}, "bad_input", "created_at"),
    "an unknown field": ("a", {"title": "x", "price": 3}, "unknown_field", "price"),
    "a list for a body": ("a", ["x"], "bad_input", "body"),
    "an id of 129 bytes": ("x" * 129, {"title": "x"}, "bad_input", "item_id"),
    "an id with a control character": ("a%00", {"title": "x"}, "bad_input", "item_id"),
    "an id that is no UTF-8": ("%ff", {"title": "x"}, "bad_input", "item_id"),
    "waiting for something else": ("a?wait=lunch", {"title": "x"}, "bad_input", "wait"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", ITEMS)
def test_a_wrong_item_is_refused_by_field_and_not_stored(live: Live, wrong: str) -> None:
    part, body, code, field = ITEMS[wrong]
    problem(live.http.put(f"/v1/items/{part}", json=body), 422, code, field)
    assert live.http.get("/v1/items/a").status_code == 404


@pytest.mark.parametrize(
    "path", ["/v1/users/{}/recommendations", "/v1/users/{}", "/v1/items/{}", "/v1/items/{}/similar"]
)
@pytest.mark.parametrize("part", ["x" * 129, "%C3%A9" * 65, "%0A", "%FF"])
def test_what_is_no_id_is_refused_in_every_path(live: Live, path: str, part: str) -> None:
    problem(live.http.get(path.format(part)), 422, "bad_input", "user_id" if "users" in path else "item_id")


@pytest.mark.parametrize(("method", "path"), [("GET", "x"), ("DELETE", "x"), ("GET", "x/similar")])
def test_an_unknown_item_is_not_found(live: Live, method: str, path: str) -> None:
    problem(live.http.request(method, f"/v1/items/no-such-{path}"), 404, "not_found", "item_id")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/v2/status"),
        ("GET", "/v1/users/"),
        ("PUT", "/v1/items/"),
        ("GET", "/v1/users/a//b"),
    ],
)
def test_an_unknown_route_is_not_found(live: Live, method: str, path: str) -> None:
    problem(live.http.request(method, path, json={"title": "x"}), 404, "not_found", None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/rank", "POST"),
        ("POST", "/v1/users/1", "DELETE, GET, PATCH, PUT"),
        ("OPTIONS", "/v1/items/1", "DELETE, GET, PATCH, PUT"),
        ("DELETE", "/healthz", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(live: Live, method: str, path: str, allowed: str) -> None:
    answer = live.http.request(method, path)
    problem(answer, 405, "method_not_allowed", None)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"k": 1,}', b"[" * 100_000])
def test_malformed_json_is_refused(live: Live, body: bytes) -> None:
    answer = live.http.post(RECOMMEND, content=body, headers=JSON)
    problem(answer, 422, "malformed_json" if body else "missing", "body")


@pytest.mark.parametrize("text", [b'{"diversity": NaN}', b'{"diversity": 1e999}', b'{"diversity": Infinity}'])
def test_numbers_that_are_none_are_refused(live: Live, text: bytes) -> None:
    problem(live.http.post(RECOMMEND, content=text, headers=JSON), 422, "bad_input", "diversity")


def test_a_lone_surrogate_is_refused(live: Live) -> None:
    problem(live.http.post(RECOMMEND, content=b'{"user_id": "\\ud800"}', headers=JSON), 422, "bad_input", "user_id")


@pytest.mark.parametrize(
    "kind", [{"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}]
)
@pytest.mark.parametrize(("method", "path"), [("POST", RECOMMEND), ("PUT", "/v1/items/a"), ("POST", "/v1/events")])
def test_json_that_is_not_marked_as_such_is_refused(live: Live, method: str, path: str, kind: dict[str, str]) -> None:
    """`curl -d` sends a form unless it is told otherwise: the answer says which header to send."""
    answer = live.http.request(method, path, content=b'{"title": "x", "events": []}', headers=kind)
    assert "content-type: application/json" in problem(answer, 415, "unsupported_media_type", "body")["detail"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_over_the_limit_is_refused(live: Live, streamed: bool) -> None:
    """Whether it says how long it is, or comes in chunks."""
    parts = [b"x" * (1 << 20)] * 9
    answer = live.http.post("/v1/items", content=iter(parts) if streamed else b"".join(parts), headers=JSON)
    assert "8388608" in problem(answer, 413, "too_large", "body")["detail"]


def test_a_body_within_the_limit_is_read(live: Live) -> None:
    """Seven mebibytes of items, each too long, are read and each is named."""
    items = [{"item_id": f"long-{n}", "text": "x" * 21_000} for n in range(340)]
    answer = problem(live.http.post("/v1/items", json={"items": items}), 422, "all_refused", "items")
    assert {refused["code"] for refused in answer["refused"]} == {"too_large"}
    assert (len(answer["refused"]), answer["refused_count"]) == (100, 340)
    assert answer["refused_indexes"] == list(range(340))


@pytest.mark.parametrize("path", [OF_USER, "/v1/items/1/similar"])
def test_an_error_takes_over_the_callers_request_id(live: Live, path: str) -> None:
    answer = live.http.get(path, params={"k": "0"}, headers={"X-Request-ID": "mine-2"})
    assert problem(answer, 422, "bad_input", "k")["request_id"] == "mine-2"


@pytest.mark.parametrize("path", [OF_USER, "/v1/users/196", "/v1/status", "/v1/admin/deployments"])
def test_a_name_that_is_not_this_machines_is_refused_behind_haproxy(live: Live, path: str) -> None:
    """No keys are asked for here: a web page whose own name leads to 127.0.0.1 is told nothing."""
    answer = live.http.get(path, headers={"host": "evil.example:8000"})
    assert "allow_no_keys" in problem(answer, 421, "wrong_host", None)["detail"]
    assert live.http.get("/healthz", headers={"host": "evil.example"}).status_code == 200
