"""Over HTTP: items that are changed in part, hidden, available for a time, and listed; events that are deleted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from recsys.datatypes import Item
from recsys.serving.pipeline import Recommender

DECLARED = {"topic": "keyword", "price": "number", "in_stock": "boolean"}
BUILT = [Item(f"lamp-{n}", f"Lamp {n}", "a lamp", {"topic": "light", "price": float(n)}) for n in range(5)]
EVERYWHERE: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/v1/users/u/recommendations?k=50", None),
    ("POST", "/v1/recommendations", {"k": 50}),
    ("POST", "/v1/search", {"text": "lamp", "k": 50}),
    ("POST", "/v1/search", {"text": "lamp", "k": 50, "filter": {"must": [{"key": "topic", "eq": "light"}]}}),
    ("GET", "/v1/items/lamp-0/similar?k=50", None),
    ("POST", "/v1/rank", {"items": [f"lamp-{n}" for n in range(1, 5)]}),
]
"""Every call that lists items."""


async def patch(http: httpx.AsyncClient, item_id: str, body: dict[str, Any]) -> httpx.Response:
    return await http.patch(f"/v1/items/{item_id}?wait=visible", json=body)


async def lists(http: httpx.AsyncClient) -> list[set[str]]:
    found = []
    for method, path, body in EVERYWHERE:
        answer = await http.request(method, path, json=body)
        assert answer.status_code == 200, answer.text
        found.append({item["item_id"] for item in answer.json()["items"]})
    return found


async def shown(http: httpx.AsyncClient, item_id: str) -> bool:
    """Whether all lists have it; that not all agree is an error."""
    [there] = {item_id in found for found in await lists(http)}
    return there


async def test_a_hidden_item_is_in_no_answer_and_comes_back(make_http) -> None:
    """In every list at once, though each was asked for before; it can still be read, and `rank` names it as unknown."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    assert await shown(http, "lamp-2")
    assert (await patch(http, "lamp-2", {"hidden": True})).json()["visible"] is True
    assert not await shown(http, "lamp-2")
    ranked = await http.post("/v1/rank", json={"items": ["lamp-1", "lamp-2"]})
    assert ranked.json()["unknown_items"] == ["lamp-2"]
    stored = (await http.get("/v1/items/lamp-2")).json()
    assert (stored["hidden"], stored["title"], stored["attributes"]["price"]) == (True, "Lamp 2", 2.0)
    await patch(http, "lamp-2", {"hidden": False})
    assert await shown(http, "lamp-2")


BOUNDS = [
    ({"available_from": 3600}, False),
    ({"available_from": -3600}, True),
    ({"available_until": -1}, False),
    ({"available_until": 3600}, True),
    ({"available_from": -7200, "available_until": -3600}, False),
    ({"available_from": -3600, "available_until": 3600}, True),
    ({"available_from": 3600, "available_until": 7200}, False),
]
"""Seconds from now, and whether an item within is shown."""


async def test_an_item_is_shown_within_its_bounds_of_time(make_http, subtests) -> None:
    """Of an item of the snapshot and of one that came over HTTP; null takes a bound away."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    for n, (bounds, expected) in enumerate(BOUNDS):
        with subtests.test(**bounds):
            moved = {name: time.time() + offset for name, offset in bounds.items()}
            await patch(http, "lamp-3", moved)
            new = {"item_id": f"new-{n}", "title": "Lamp", "text": "a lamp", "attributes": {"topic": "light"}, **moved}
            await http.post("/v1/items?wait=visible", json={"items": [new]})
            assert await shown(http, "lamp-3") is expected
            found = (await lists(http))[:5]
            assert all((f"new-{n}" in one) is expected for one in found)
            await patch(http, "lamp-3", dict.fromkeys(bounds))
            assert await shown(http, "lamp-3")


async def test_an_item_appears_and_disappears_at_its_moment_without_a_write(make_http, monkeypatch) -> None:
    """No call and no cached list outlives the moment."""
    now = [time.time()]
    monkeypatch.setattr(Recommender.__init__, "__defaults__", (lambda: now[0], None))
    http = await make_http(items=BUILT, attributes=DECLARED)
    start, end = now[0] + 1000.0, now[0] + 2000.0
    await patch(http, "lamp-4", {"available_from": start, "available_until": end})
    for at, expected in (
        (start - 900, False), (start - 0.5, False), (start, True), (start + 0.5, True), (end - 0.5, True), (end, False),
        (end + 0.5, False),
    ):  # fmt: skip
        now[0] = at
        for _ in range(2):
            answer = await http.get("/v1/users/u/recommendations?k=50")
            assert ("lamp-4" in {item["item_id"] for item in answer.json()["items"]}) is expected, at


async def test_a_patch_changes_what_it_names(make_http) -> None:
    """Attributes by name; null takes one away; a text is encoded anew, and nothing else is."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    encoded = len(http.world.encoded)
    body = {"attributes": {"price": 9, "topic": None, "in_stock": True}, "created_at": "2026-01-01"}
    assert (await patch(http, "lamp-1", body)).status_code == 200
    stored = (await http.get("/v1/items/lamp-1")).json()
    assert stored["attributes"] == {"price": 9.0, "in_stock": True}
    assert (stored["title"], stored["text"]) == ("Lamp 1", "a lamp")
    assert stored["created_at"] == 1_767_225_600.0
    assert len(http.world.encoded) == encoded
    await patch(http, "lamp-1", {"text": "a boat under sail"})
    assert len(http.world.encoded) == encoded + 1
    best = (await http.post("/v1/search", json={"text": "boat under sail", "k": 1})).json()["items"][0]
    assert best["item_id"] == "lamp-1"


NO_PATCHES: list[tuple[dict[str, Any], str]] = [
    ({"attributes": {"colour": "red"}}, "attributes.colour"),
    ({"attributes": {"price": "much"}}, "attributes.price"),
    ({"attributes": []}, "attributes"),
    ({"colour": "red"}, "colour"),
    ({"hidden": "yes"}, "hidden"),
    ({"available_from": "soon"}, "available_from"),
    ({"available_from": 20, "available_until": 10}, "body"),
    ({"title": None, "text": None}, "body"),
    ({"item_id": "another"}, "item_id"),
]


async def test_a_patch_that_makes_no_item_changes_nothing(make_http, subtests) -> None:
    """It is refused by its field."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    before = (await http.get("/v1/items/lamp-1")).json()
    for body, field in NO_PATCHES:
        with subtests.test(body=body):
            answer = await patch(http, "lamp-1", body)
            assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
            assert (await http.get("/v1/items/lamp-1")).json() == before


async def test_an_item_that_is_not_there_cannot_be_patched(make_http) -> None:
    http = await make_http(items=BUILT, attributes=DECLARED)
    assert (await patch(http, "nothing", {"hidden": True})).status_code == 404


async def test_patches_that_come_together_are_all_kept(make_http) -> None:
    """And so is what a whole item says that is written between them."""
    http = await make_http(items=BUILT, attributes={f"n{n}": "number" for n in range(6)})
    await asyncio.gather(*(patch(http, "lamp-0", {"attributes": {f"n{n}": n}}) for n in range(6)))
    stored = (await http.get("/v1/items/lamp-0")).json()
    assert stored["attributes"] == {f"n{n}": float(n) for n in range(6)}


@pytest.mark.parametrize("shards", [1, 3])
async def test_all_items_are_listed_page_by_page(make_http, shards) -> None:
    """Each once, over all shards, hidden ones too, while others come and go; by a filter where one is given."""
    http = await make_http(items=BUILT, attributes=DECLARED, shards=shards)
    await patch(http, "lamp-1", {"hidden": True})
    listed: list[str] = []
    cursor: str | None = None
    for turn in range(10):
        answer = await http.get("/v1/items", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        listed += [item["item_id"] for item in answer.json()["items"]]
        new = {"item_id": f"new-{turn}", "title": "New"}
        await http.post("/v1/items?wait=visible", json={"items": [new]})
        await http.delete(f"/v1/items/new-{turn - 1}?wait=visible")
        if (cursor := answer.json()["next_cursor"]) is None:
            break
    assert [i for i in sorted(listed) if i.startswith("lamp")] == [item.item_id for item in BUILT]
    assert len(listed) == len(set(listed))
    filter_text = '{"must": [{"key": "price", "gte": 3}]}'
    found = (await http.get("/v1/items", params={"filter": filter_text})).json()
    assert ({item["item_id"] for item in found["items"]}, found["next_cursor"]) == ({"lamp-3", "lamp-4"}, None)


async def test_a_deleted_event_is_as_if_it_had_never_come(make_http) -> None:
    """History, what is seen, taste and popularity are those of the other events; a second deletion finds nothing."""
    http = await make_http(items=BUILT, attributes=DECLARED)

    async def tell(user: str, *events: tuple[str, str, str]) -> None:
        given = [
            {"event_id": i, "user_id": user, "item_id": item, "type": kind, "timestamp": 1e9 + n}
            for n, (i, item, kind) in enumerate(events)
        ]
        assert (await http.post("/v1/events", json={"events": given})).status_code == 200

    await tell("u", ("a", "lamp-1", "like"), ("b", "lamp-2", "like"), ("c", "lamp-2", "view"))
    await tell("v", ("a", "lamp-1", "like"), ("c", "lamp-2", "view"))
    answer = await http.delete("/v1/users/u/events/b")
    assert (answer.status_code, answer.json()) == (200, {"user_id": "u", "event_id": "b"})
    await http.world.counted()
    slates = []
    for user in ("u", "v"):
        body = {"user_id": user, "k": 10, "explain": True, "include_seen": True}
        slates.append((await http.post("/v1/recommendations", json=body)).json()["items"])
    assert slates[0] == slates[1]
    assert [event["event_id"] for event in (await http.get("/v1/users/u")).json()["history"]] == ["c", "a"]
    assert (await http.delete("/v1/users/u/events/b")).status_code == 404
    await http.delete("/v1/users/u/events/c")
    unseen = (await http.post("/v1/recommendations", json={"user_id": "u", "k": 10})).json()["items"]
    assert "lamp-2" in {item["item_id"] for item in unseen}
