"""The short way of events says what FastAPI's way says, and takes nothing that FastAPI would not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from deployments.api.long_bodies import LONG

SHORT, LONG_WAY = "application/json", "application/json; charset=utf-8"
"""The same to FastAPI; only the first goes the short way."""
FACTS = {"user_id": "u", "item_id": "sea-1", "type": "like", "timestamp": 1_760_000_000.5}


def event(number: object, **others: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", **FACTS, **others}


BODIES: list[bytes] = [
    json.dumps({"events": [event(1), event(1), event(2, type="sniff"), event(3, item_id="none")]}).encode(),
    json.dumps({"events": [event(4)], "profiles": "later"}).encode(),
    json.dumps({"events": []}).encode(),
    json.dumps({"events": [{}]}).encode(),
    json.dumps({"events": {}}).encode(),
    json.dumps({"events": [event(5)], "profiles": "never"}).encode(),
    json.dumps({"events": [event(5)], "others": 1}).encode(),
    json.dumps({"events": [event(n) for n in range(2000)]}).encode(),
    b"", b"[]", b"{", b'"events"', b"[" * 5000, b"\xff\xfe", '{"events": []}'.encode("utf-8-sig"),
    b'{"events": [' + b" " * LONG + b"]}",
]  # fmt: skip


async def told(http: Any, body: bytes, way: str) -> tuple[int, Any, dict[str, str]]:
    answer = await http.post("/v1/events", content=body, headers={"content-type": way, "x-request-id": "r"})
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, answer.json(), headers


async def test_both_ways_say_the_same(make_http, redis, of_fastapi):
    """Of what is right, wrong in a part and wrong as a whole."""
    http = await make_http()
    for body in BODIES:
        came = []
        for way in (SHORT, LONG_WAY):
            await redis.flushall()
            came.append(await told(http, body, way))
        assert came[0] == came[1], body[:80]
    statuses = [(await told(http, body, SHORT))[0] for body in BODIES]
    assert {200, 413, 422} <= set(statuses)


async def test_what_is_right_and_short_goes_the_short_way(make_http, of_fastapi):
    http = await make_http()
    right = json.dumps({"events": [event(1)]}).encode()
    status, said, _ = await told(http, right, SHORT)
    assert (status, said["accepted"], of_fastapi) == (200, 1, [])
    assert (await told(http, right, SHORT))[1]["duplicates"] == 1
    assert (await told(http, BODIES[-1], SHORT))[0] == 200  # no more events, and long
    wrong = await http.post("/v1/events?wait=visible", content=right, headers={"content-type": SHORT})
    assert wrong.status_code == 422
    assert (await http.post("/v1/events", content=right)).status_code == 415
    assert of_fastapi == ["POST /v1/events"] * 3
    assert (await http.get("/v1/users/u")).json()["events"] == 1


async def test_a_body_may_come_in_parts(make_http, of_fastapi):
    http = await make_http()

    async def parts() -> AsyncIterator[bytes]:
        body = json.dumps({"events": [event(1)]}).encode()
        yield body[:20]
        yield body[20:]

    answer = await http.post("/v1/events", content=parts(), headers={"content-type": SHORT})
    assert (answer.json()["accepted"], of_fastapi) == (1, [])


async def test_of_a_caller_who_leaves_halfway_nothing_is_recorded(make_http, redis):
    """And the same is said either way, to nobody."""
    http = await make_http()

    async def left(way: str) -> list[Any]:
        messages: list[Any] = [{"type": "http.request", "body": b'{"events": [', "more_body": True}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", way.encode()), (b"x-request-id", b"r")]
        scope = {"type": "http", "method": "POST", "path": "/v1/events", "query_string": b"", "headers": headers}
        await http.front(scope, receive, send)
        return sent

    assert await left(SHORT) == await left(LONG_WAY)
    assert not [key async for key in redis.scan_iter(match="*events*")]
