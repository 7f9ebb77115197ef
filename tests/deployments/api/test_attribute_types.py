"""Over HTTP: truth values and days as attributes, an item's own time in filters, numbers that are no seconds, and one
spelling of ids and words.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from recsys.datatypes import Item

DECLARED = {"in_stock": "boolean", "day": "date", "topic": "keyword"}
JANUARY_2, JANUARY_3 = 1_767_312_000.0, 1_767_398_400.0  # 2026, midnight in UTC
BUILT = [
    Item("built-1", "Old lamp", "a lamp of the snapshot", {"in_stock": True, "day": JANUARY_2, "topic": "light"}, 1e9),
    Item("built-2", "Older lamp", "another lamp of the snapshot", {"in_stock": False}, 9e8),
]
LIVE = [
    {
        "item_id": "live-1",
        "title": "New lamp",
        "attributes": {"in_stock": True, "day": "2026-01-03T23:59:00Z", "topic": "cafe\u0301 "},
        "created_at": "2026-01-01",
    },
    {"item_id": "live-2", "title": "Newer lamp", "attributes": {"in_stock": False, "topic": "caf\u00e9"}},
]


async def matching(http: httpx.AsyncClient, *must: dict[str, Any]) -> set[str]:
    body = {"text": "lamp", "k": 10, "filter": {"must": list(must)}}
    answer = await http.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return {item["item_id"] for item in answer.json()["items"]}


async def test_truth_values_and_days_are_stored_filtered_and_given_back(make_http) -> None:
    """Of items in the snapshot and of those that came over HTTP; a day is its midnight, whatever the time of day."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    assert (await http.post("/v1/items?wait=visible", json={"items": LIVE})).status_code == 200
    assert await matching(http, {"key": "in_stock", "eq": True}) == {"built-1", "live-1"}
    assert await matching(http, {"key": "in_stock", "eq": False}) == {"built-2", "live-2"}
    assert await matching(http, {"key": "day", "eq": "2026-01-03"}) == {"live-1"}
    assert await matching(http, {"key": "day", "lte": "2026-01-03"}) == {"built-1", "live-1"}
    assert await matching(http, {"key": "day", "exists": False}) == {"built-2", "live-2"}
    stored = (await http.get("/v1/items/live-1")).json()["attributes"]
    assert stored == {"in_stock": True, "day": JANUARY_3, "topic": "café"}
    assert (await http.get("/v1/items/built-1")).json()["attributes"]["in_stock"] is True


async def test_an_items_own_time_can_be_filtered_by_without_being_declared(make_http) -> None:
    """Also of items that came over HTTP; one without a time is neither before nor after."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    await http.post("/v1/items?wait=visible", json={"items": LIVE})
    assert await matching(http, {"key": "created_at", "gte": "2001-09-09"}) == {"built-1", "live-1"}
    assert await matching(http, {"key": "created_at", "lt": 1e9}) == {"built-2"}
    assert await matching(http, {"key": "created_at", "exists": False}) == {"live-2"}


async def test_what_does_not_fit_these_types_is_refused_with_its_field(make_http) -> None:
    """A word is no truth value, and a range of truth values means nothing."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    item = {"item_id": "x", "title": "x", "attributes": {"in_stock": "yes"}}
    refused = (await http.post("/v1/items", json={"items": [item]})).json()["refused"][0]
    assert refused["field"] == "attributes.in_stock"
    assert "must be true or false, as declared, not 'yes'" in refused["message"]
    for condition, says in (
        ({"key": "in_stock", "eq": 1}, "must be true or false"),
        ({"key": "in_stock", "gt": False}, "a range needs a number, date or datetime"),
        ({"key": "day", "eq": True}, "RFC 3339"),
        ({"key": "topic", "eq": True}, "must be a string"),
    ):
        answer = await http.post("/v1/search", json={"text": "lamp", "filter": {"must": [condition]}})
        assert answer.status_code == 422
        assert says in answer.text


NO_SECONDS = [
    (1950, "1950 looks like a year, and as Unix seconds it would be of 1970: give RFC 3339, such as 1950-01-01"),
    ("1950", "looks like a year"),
    (1999.0, "looks like a year"),
    (20_230_615, "looks like a day written as digits, .* such as 2023-06-15T00:00:00Z"),
    (45_092.5, "looks like a day number of Excel, .* such as 2023-06-15T00:00:00Z"),
    (1_700_000_000_123, "not milliseconds"),
]


async def test_numbers_that_are_no_seconds_are_told_in_every_field(make_http, subtests) -> None:
    """Of an item, alone and in bulk, of an event, of an attribute, and of a filter: by field, with the fix."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    for moment, says in NO_SECONDS:
        with subtests.test(moment=moment):
            item = {"item_id": "x", "title": "x", "created_at": moment}
            event = {"event_id": "e", "user_id": "u", "item_id": "built-1", "type": "like", "timestamp": moment}
            day = {"item_id": "x", "title": "x", "attributes": {"day": moment}}
            for path, records, field in (
                ("items", [item], "created_at"),
                ("items", [day], "attributes.day"),
                ("events", [event], "timestamp"),
            ):
                answer = await http.post(f"/v1/{path}", json={path: records})
                assert answer.status_code == 422
                [refused] = answer.json()["refused"]
                assert refused["field"] == field
                assert re.search(says, refused["message"]), refused["message"]
            alone = await http.put("/v1/items/x", json=item)
            assert (alone.status_code, alone.json()["field"]) == (422, "created_at")
            for patch, field in (
                ({"created_at": moment}, "created_at"),
                ({"attributes": {"day": moment}}, "attributes.day"),
            ):
                changed = await http.patch("/v1/items/built-1", json=patch)
                assert (changed.status_code, changed.json()["field"]) == (422, field)
            for key in ("created_at", "day"):
                asked = {"text": "lamp", "filter": {"must": [{"key": key, "gte": moment}]}}
                answer = await http.post("/v1/search", json=asked)
                assert answer.status_code == 422
                assert re.search(says, answer.json()["detail"]), answer.text


async def test_an_item_of_the_far_future_is_told(make_http) -> None:
    """More than a year ahead it would be the newest for years; what is announced is taken, and so is 1971."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    item = {"item_id": "x", "title": "x"}
    answer = await http.put("/v1/items/x", json=item | {"created_at": "2099-01-01"})
    assert answer.status_code == 422
    assert (await http.patch("/v1/items/built-1", json={"created_at": "2099-01-01"})).status_code == 422
    assert re.search(
        r"created_at: lies \d+ days ahead; at most 366 are allowed, .* leave it out", answer.json()["detail"]
    )
    soon = datetime.now(UTC) + timedelta(days=300)
    for moment in (soon.isoformat(), "1971-06-01T00:00:00Z", 31_536_000, -631_152_000.0):
        answer = await http.put("/v1/items/x?wait=visible", json=item | {"created_at": moment})
        assert answer.status_code == 200, answer.text
    stored = (await http.get("/v1/items/x")).json()
    assert stored["created_at"] == -631_152_000.0
    stored.pop("text")
    assert (
        await http.put("/v1/items/x", json={name: stored[name] for name in item | {"created_at": 0}})
    ).status_code == 200


async def test_ids_keywords_and_queries_have_one_spelling(make_http) -> None:
    """Composed or decomposed, with a blank at the end or without: one user, one item, one keyword."""
    http = await make_http(items=BUILT, attributes=DECLARED)
    await http.post("/v1/items?wait=visible", json={"items": [*LIVE, {"item_id": "e\u0301 ", "title": "Lamp"}]})
    assert (await http.get("/v1/items/%C3%A9")).json()["item_id"] == "é"
    for value in ("caf\u00e9", "cafe\u0301", " caf\u00e9"):
        assert await matching(http, {"key": "topic", "eq": value}) == {"live-1", "live-2"}
    for number, user in enumerate(("Zoe\u0308", "Zo\u00eb ")):
        event = {"event_id": f"e{number}", "user_id": user, "item_id": "live-1", "type": "like"}
        assert (await http.post("/v1/events", json={"events": [event]})).status_code == 200
    assert (await http.get("/v1/users/Zo%C3%AB")).json()["events"] == 2
    assert (await http.put("/v1/items/%C3%A9", json={"item_id": "e\u0301", "title": "Lamp"})).status_code == 200
