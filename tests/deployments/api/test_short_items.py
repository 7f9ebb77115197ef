"""The short way of calls of one item says what FastAPI's way says, and takes nothing that FastAPI would not."""

from __future__ import annotations

from typing import Any

from tests.support.world import eventually

PATHS = [
    "/v1/items/sea-1", "/v1/items/none", "/v1/items/sea%2D1", "/v1/items/%20", "/v1/items/%FF", "/v1/items/a%2Fb",
    f"/v1/items/{'x' * 129}", "/v1/items/sea-1/similar", "/v1/items/none/similar", "/v1/items/%FF/similar",
    "/v1/items/sea-1/similar/more", "/v1/items/", "/v1/items//similar", "/v1/items/sea-1%00",
]  # fmt: skip


def facts(answer: Any) -> tuple[int, Any, dict[str, str]]:
    """What an answer says, but for times and the entry of the log."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "server-timing"}}
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in {"took_ms", "sequence"}}
    if "server-timing" in answer.headers:
        headers.pop("content-length")  # of `took_ms` as well
    return answer.status_code, body, headers


async def said(http: Any, method: str, path: str) -> tuple[int, Any, dict[str, str]]:
    return facts(await http.request(method, path, headers={"x-request-id": "r"}))


async def gone(http: Any) -> bool:
    return (await http.get("/v1/items/sea-1")).status_code == 404


async def test_both_ways_say_the_same(make_http, of_fastapi, monkeypatch):
    """Of what is right and what is wrong, with all that an answer has but its times."""
    http = await make_http()
    calls = [("GET", path) for path in PATHS]
    calls += [("GET", f"/v1/items/sea-1/similar?k={k}") for k in ("3", "0", "-1", "03", "x", "100000", "9" * 9, "")]
    calls += [("HEAD", PATHS[0]), ("POST", PATHS[0]), ("DELETE", PATHS[7]), ("DELETE", "/v1/items/none")]
    first = [await said(http, *call) for call in calls]
    short = len(of_fastapi)
    monkeypatch.setattr("deployments.api.short_items.ShortItems.asked", lambda *_: None)
    for call, one in zip(calls, first, strict=True):
        assert await said(http, *call) == one, call
    assert len(of_fastapi) - short == len(calls) > short
    assert {200, 404, 405, 422} <= {status for status, _, _ in first}


async def test_a_delete_goes_both_ways(make_http, of_fastapi):
    http = await make_http()
    answers = []
    for path in ("/v1/items/sea-1", "/v1/items/sea-1?wait=visible"):
        put = await http.put("/v1/items/sea-1", params={"wait": "visible"}, json={"title": "again"})
        assert put.status_code == 200
        status, body, headers = await said(http, "DELETE", path)
        answers.append((status, body.keys(), headers.keys()))
        assert await eventually(lambda: gone(http))
    assert answers[0] == answers[1]
    assert of_fastapi.count("DELETE /v1/items/sea-1") == 1


async def test_what_is_right_goes_the_short_way_and_the_rest_does_not(make_http, of_fastapi):
    http = await make_http()
    for path in ("/v1/items/sea-1", "/v1/items/sea-1/similar", "/v1/items/sea-1/similar?k=2"):
        assert (await http.get(path)).status_code == 200
    assert of_fastapi == []
    assert len((await http.get("/v1/items/sea-1/similar?k=2")).json()["items"]) == 2
    assert (await http.get("/v1/items/sea-1/similar?explain=true")).status_code == 200
    assert (await http.get("/v1/items/sea-1?k=2")).status_code == 422
    assert len(of_fastapi) == 2


async def test_past_serve_every_answer_names_its_request(make_http):
    """Whichever way it goes here: Serve does not."""
    http = await make_http()

    async def ids(path: str, query: bytes) -> list[bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"x-request-id", b"r")]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": headers}
        await http.front({**scope, "recsys.past_serve": True}, receive, send)
        return [value for name, value in sent[0]["headers"] if name == b"x-request-id"]

    for path, query in (("/v1/items/sea-1", b""), ("/v1/items/sea-1", b"k=1"), ("/v1/items/none", b"")):
        assert await ids(path, query) == [b"r"]
