"""Calls of the HTTP API that are right but for one thing, and what is common to all refusals."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

JSON = {"content-type": "application/json"}
FIELD = re.compile(r"[A-Za-z_]+(\[\d+\])?([.][A-Za-z_]+(\[\d+\])?)*")
"""A field as users write it: names of theirs, and places in lists."""
TAGS = re.compile(r"constrained|function|nullable|\b(str|int|float|bool|dict|none|union)\b|\[(key|str|constrained)")
"""What pydantic calls parts of its own."""
GOOD: dict[str, Any] = {
    "/v1/recommendations": {"k": 1}, "/v1/rank": {"items": ["sea-1"]}, "/v1/search": {"text": "sea"},
    "/v1/events": {"events": []}, "/v1/items": {"items": []}, "/v1/items/{item_id}": {"title": "t"},
    "/v1/admin/scale": {"deployment": "shard-0", "min_replicas": 1, "max_replicas": 1},
    "/v1/admin/hold": {"held": True}, "/v1/admin/scenarios": {"scenarios": {"home": {}}},
    "/v1/admin/scenarios/undo": {}, "/v1/admin/scenarios/preview": {"scenarios": {}, "scenario": "home"},
    "/v1/recommendations/batch": {"users": ["a"]}, "/v1/pages": {"rows": [{"k": 1}]},
    "/v1/admin/promote": {"version": "v1"}, "/v1/admin/experiments/{name}": {"share": 0.5},
    "/v1/admin/experiments": {"scenario": "home", "experiment": {"name": "t", "variants": {"a": {}, "b": {}}}},
    "/v1/admin/experiments/{name}/stop": {},
    "/v1/users/{user_id}": {"attributes": {}}, "/v1/users/{user_id}/merge": {"from_user": "b"},
}  # fmt: skip
ELEMENTS = {
    "events": {"event_id": "e", "user_id": "u", "item_id": "i", "type": "like"},
    "items": {"item_id": "i", "title": "t"},
}


async def call(http: httpx.AsyncClient, method: str, path: str, body: Any = None, query: str = "") -> httpx.Response:
    url = path.replace("{user_id}", "u").replace("{item_id}", "sea-1").replace("{name}", "t") + query
    body = GOOD.get(path) if body is None and method in ("POST", "PUT") else body
    content = None if body is None else json.dumps(body)  # which writes lone surrogates, as JavaScript does
    return await http.request(method, url, content=content, headers=JSON if body is not None else {})


def wrong(answer: httpx.Response, field: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The problem, in the one form that all have."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.status_code in (413, 422)
    found: dict[str, Any] = answer.json()
    told = [found, *found.get("errors", ())]
    assert field in (None, found["field"]), found
    assert code is None or found["code"] == code, found
    for one in told:
        message = one.get("message", one.get("detail"))
        assert message.startswith(one["field"])
        assert "Input should" not in message
        assert FIELD.fullmatch(one["field"]), one
        assert not TAGS.search(one["field"]), one
    return found
