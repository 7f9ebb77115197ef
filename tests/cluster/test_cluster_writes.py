"""Items, events and users that change while the platform serves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.live import Live, event, eventually, ids

pytestmark = pytest.mark.cluster


@pytest.fixture
def item_id(live: Live) -> Iterator[str]:
    """Of an item that the test may make; it is gone afterwards."""
    made = f"test-{uuid.uuid4().hex}"
    yield made
    live.http.delete(f"/v1/items/{made}", params={"wait": "visible"})


@pytest.fixture
def user(live: Live) -> Iterator[str]:
    """Somebody new, who is forgotten afterwards."""
    made = f"test-{uuid.uuid4().hex}"
    yield made
    live.http.delete(f"/v1/users/{made}")


ROBOT = {"title": "The Lighthouse Robot", "text": "A lonely robot keeps a lighthouse on a rock in the sea."}


def search(live: Live, text: str, **more: Any) -> list[str]:
    return ids(live.json("POST", "/v1/search", {"text": text, "k": 5, **more})["items"])


def test_a_new_item_is_found_by_its_theme_soon(live: Live, item_id: str) -> None:
    written = live.json("PUT", f"/v1/items/{item_id}", ROBOT)
    assert (written["item_id"], written["visible"]) == (item_id, None)
    assert eventually(lambda: item_id in search(live, "a robot alone in a lighthouse by the ocean"))


def test_wait_visible_answers_once_every_call_has_the_item(live: Live, item_id: str) -> None:
    written = live.json("PUT", f"/v1/items/{item_id}", ROBOT | {"attributes": {"language": "xx"}}, wait="visible")
    assert written["visible"] is True
    only = {"must": [{"key": "language", "eq": "xx"}]}
    assert search(live, "a robot alone in a lighthouse by the ocean")[0] == item_id
    assert ids(live.recommend("196", filter=only)) == [item_id]
    assert ids(live.recommend(None, filter=only)) == [item_id]
    neighbours = live.json("GET", f"/v1/items/{item_id}/similar")["items"]
    assert len(neighbours) == 10
    assert live.json("GET", f"/v1/items/{item_id}") == {
        "item_id": item_id, **ROBOT, "attributes": {"language": "xx"}, "created_at": None,
        "hidden": False, "available_from": None, "available_until": None,
    }  # fmt: skip


def test_an_item_is_hidden_and_listed_and_shown_again(live: Live, item_id: str) -> None:
    """By a change of one field; its text is found as before."""
    text = "a robot alone in a lighthouse by the ocean"
    live.json("PUT", f"/v1/items/{item_id}", ROBOT, wait="visible")
    assert live.json("PATCH", f"/v1/items/{item_id}", {"hidden": True}, wait="visible")["visible"] is True
    assert item_id not in search(live, text)
    listed, cursor = [], None
    while cursor is not None or not listed:
        page = live.json("GET", "/v1/items", limit=1000, **({} if cursor is None else {"cursor": cursor}))
        listed += ids(page["items"])
        cursor = page["next_cursor"]
    assert item_id in listed
    assert len(listed) == len(set(listed)) == live.status()["items"]
    live.json("PATCH", f"/v1/items/{item_id}", {"hidden": False}, wait="visible")
    assert search(live, text)[0] == item_id


def test_an_edited_scenario_is_in_force_and_undone(live: Live) -> None:
    only = {"must": [{"key": "year", "gte": 1997}]}
    edit = {"scenarios": {"home": {"filter": only}}, "author": "test"}
    before = live.json("GET", "/v1/admin/scenarios")["version"]
    assert live.json("PATCH", "/v1/admin/scenarios", edit)["version"] == before + 1
    try:
        shown = ids(live.recommend(None, k=20))
        assert shown
        assert all(live.json("GET", f"/v1/items/{quote(i, safe='')}")["attributes"]["year"] >= 1997 for i in shown)
    finally:
        live.json("POST", "/v1/admin/scenarios/undo", {"author": "test"})
    assert live.json("GET", "/v1/admin/scenarios")["history"][0]["comment"] == f"undoes {before + 1}"


def test_attributes_of_a_user_and_one_event_are_forgotten(live: Live, user: str) -> None:
    live.like(user, "50")
    event_id = live.json("GET", f"/v1/users/{user}")["history"][0]["event_id"]
    live.json("DELETE", f"/v1/users/{user}/events/{quote(event_id, safe='')}")
    assert live.json("GET", f"/v1/users/{user}")["history"] == []


def test_a_replaced_item_is_found_by_its_new_theme_only(live: Live, item_id: str) -> None:
    live.json("PUT", f"/v1/items/{item_id}", ROBOT | {"attributes": {"language": "xx"}}, wait="visible")
    pastry = {"title": "Choux", "text": "How a Parisian pastry chef bakes éclairs and profiteroles."}
    live.json("PUT", f"/v1/items/{item_id}", pastry | {"attributes": {"language": "yy"}}, wait="visible")
    assert search(live, "a baker of éclairs in Paris")[0] == item_id
    assert item_id not in search(live, "a robot alone in a lighthouse by the ocean")
    assert live.recommend(None, filter={"must": [{"key": "language", "eq": "xx"}]}) == []
    assert ids(live.recommend(None, filter={"must": [{"key": "language", "eq": "yy"}]})) == [item_id]


def test_a_deleted_item_vanishes_and_stays_gone(live: Live, item_id: str) -> None:
    live.json("PUT", f"/v1/items/{item_id}", ROBOT | {"attributes": {"language": "xx"}}, wait="visible")
    assert live.json("DELETE", f"/v1/items/{item_id}", wait="visible")["visible"] is True
    for _ in range(20):
        assert item_id not in search(live, "a robot alone in a lighthouse by the ocean")
        assert live.recommend("196", filter={"must": [{"key": "language", "eq": "xx"}]}) == []
        assert live.http.get(f"/v1/items/{item_id}").status_code == 404
        assert live.http.get(f"/v1/items/{item_id}/similar").status_code == 404
        time.sleep(0.05)
    assert live.http.delete(f"/v1/items/{item_id}").status_code == 404


@pytest.mark.parametrize(
    "odd",
    [
        "a/b", "a//b", "/", "a b", "100%", "%2F", "a+b", "a?b=c", "a#b", "a;b", "a\\b", "[0]", '"', "a/../b",
        "ünïcödé", "影武者", "🎬🍿", "x" * 128, "é" * 64, "a\u2028b",
    ],
)  # fmt: skip
def test_any_string_is_an_id(live: Live, odd: str) -> None:
    """Of an item and of a user, in a path and in a body; only blanks around an id are cut off."""
    part = quote(odd, safe="")
    try:
        written = live.json("PUT", f"/v1/items/{part}", {"title": "Odd"}, wait="visible")
        assert (written["item_id"], written["visible"]) == (odd, True)
        assert live.json("GET", f"/v1/items/{part}")["item_id"] == odd
        assert live.json("POST", "/v1/rank", {"items": [odd]})["unknown_items"] == []
        live.like(odd, odd)
        assert [e["item_id"] for e in live.json("GET", f"/v1/users/{part}")["history"]] == [odd]
        assert len(live.json("GET", f"/v1/users/{part}/recommendations")["items"]) == 10
    finally:
        erased = live.json("DELETE", f"/v1/users/{part}")
        deleted = live.json("DELETE", f"/v1/items/{part}", wait="visible")
    assert erased == {"user_id": odd, "events_erased": 1}
    assert deleted["item_id"] == odd
    assert live.http.get(f"/v1/items/{part}").status_code == 404


def test_bulk_items_go_in_and_each_bad_one_is_named(live: Live, item_id: str) -> None:
    items: list[Any] = [
        {"item_id": item_id, "title": "Good", "attributes": {"year": 2026, "released_at": "2026-01-31"}},
        {"item_id": "empty"},
        {"item_id": "a", "title": "x", "attributes": {"colour": "red"}},
        {"item_id": "b", "title": "x", "attributes": {"year": "2026"}},
        {"item_id": "c", "title": "x", "attributes": {"genres": "Drama"}},
        {"item_id": "x" * 129, "title": "x"},
        {"item_id": "", "title": "x"},
        {"title": "x"},
        {"item_id": "d", "text": "x" * 20_001},
        {"item_id": "e", "title": "x", "created_at": "yesterday"},
        {"item_id": "f", "title": "x", "price": 3},
        "a text",
    ]
    answer = live.json("POST", "/v1/items", {"items": items}, wait="visible")
    assert [(w["item_id"], w["visible"]) for w in answer["written"]] == [(item_id, True)]
    assert live.json("GET", f"/v1/items/{item_id}")["attributes"] == {"year": 2026.0, "released_at": 1769817600.0}
    assert [(r["index"], r["field"], r["code"]) for r in answer["refused"]] == [
        (1, None, "bad_input"),
        (2, "attributes.colour", "undeclared_attribute"),
        (3, "attributes.year", "bad_input"),
        (4, "attributes.genres", "bad_input"),
        (5, "item_id", "bad_input"),
        (6, "item_id", "bad_input"),
        (7, "item_id", "missing"),
        (8, "text", "too_large"),
        (9, "created_at", "bad_input"),
        (10, "price", "unknown_field"),
        (11, None, "bad_input"),
    ]
    assert all(refused["message"] for refused in answer["refused"])
    assert live.http.get("/v1/items/a").status_code == 404


def test_bulk_events_go_in_and_each_bad_one_is_named(live: Live, user: str) -> None:
    good = event(user, "1")
    events: list[Any] = [
        good,
        good,
        event(user, "2", timestamp="2020-01-01T00:00:00Z"),
        event(user, "no such item"),
        event(user, "3", type="stare"),
        event(user, "3", timestamp=time.time() + 3600),
        event(user, "3", timestamp="soon"),
        event(user, "3", value="five"),
        event("", "3"),
        event(user, "x" * 129),
        {"user_id": user, "item_id": "3", "type": "like"},
        event(user, "3", mood="good"),
        None,
    ]
    answer = live.json("POST", "/v1/events", {"events": events})
    assert (answer["accepted"], answer["duplicates"], answer["unknown_items"]) == (3, 1, ["no such item"])
    assert [(r["index"], r["field"], r["code"]) for r in answer["refused"]] == [
        (4, "type", "unknown_event_type"),
        (5, "timestamp", "bad_input"),
        (6, "timestamp", "bad_input"),
        (7, "value", "bad_input"),
        (8, "user_id", "bad_input"),
        (9, "item_id", "bad_input"),
        (10, "event_id", "missing"),
        (11, "mood", "unknown_field"),
        (12, None, "bad_input"),
    ]
    known = live.json("GET", f"/v1/users/{user}")
    assert known["events"] == 3
    assert {e["item_id"] for e in known["history"]} == {"1", "2", "no such item"}
    assert known["history"][-1]["item_id"] == "2"  # newest first


def test_an_event_counts_once_however_often_it_is_sent(live: Live, user: str) -> None:
    liked = event(user, "50")
    answers = [live.json("POST", "/v1/events", {"events": [liked]}) for _ in range(3)]
    assert [(a["accepted"], a["duplicates"]) for a in answers] == [(1, 0), (0, 1), (0, 1)]
    assert live.json("GET", f"/v1/users/{user}")["events"] == 1


def test_likes_make_the_next_answers_alike(live: Live, user: str, film: dict[str, dict[str, Any]]) -> None:
    """Somebody who likes three horror films is offered horror, and was not before."""
    horror = [i for i, f in film.items() if f["attributes"].get("genres") == ["Horror"]][:3]

    def offered() -> int:
        found = ids(live.recommend(user, k=50))
        return sum("Horror" in film[i]["attributes"].get("genres", ()) for i in found if i in film)

    before = offered()
    for item in horror:
        live.like(user, item)
    assert offered() >= before + 5


def test_an_erased_user_is_unknown_again(live: Live, user: str) -> None:
    cold = ids(live.recommend(user, diversity=0))
    for item in ("200", "219", "288"):
        live.like(user, item)
    warm = ids(live.recommend(user, diversity=0))
    assert live.json("DELETE", f"/v1/users/{user}") == {"user_id": user, "events_erased": 3}
    assert live.json("GET", f"/v1/users/{user}") == {
        "user_id": user, "attributes": {}, "events": 0, "history_limit": 1000, "history": [],
    }  # fmt: skip
    assert warm != cold

    def as_others() -> bool:
        return ids(live.recommend(user, diversity=0)) == ids(live.recommend("somebody else who is new", diversity=0))

    assert eventually(as_others)  # the shards may hear of the likes that are gone between the two
    assert not {item["source"] for item in live.recommend(user, diversity=0)} & {"similar", "because_you_liked"}
    assert live.json("DELETE", f"/v1/users/{user}")["events_erased"] == 0


def test_an_event_about_an_item_to_come_counts_once_it_is_there(live: Live, item_id: str, user: str) -> None:
    live.json("POST", "/v1/events", {"events": [event(user, item_id)]})
    live.json("PUT", f"/v1/items/{item_id}", ROBOT | {"attributes": {"language": "xx"}}, wait="visible")
    assert live.recommend(user, filter={"must": [{"key": "language", "eq": "xx"}]}) == []  # it was seen
    assert ids(live.recommend(None, filter={"must": [{"key": "language", "eq": "xx"}]})) == [item_id]


def test_a_like_of_an_item_to_come_is_part_of_the_taste_once_it_is_there(live: Live, item_id: str, user: str) -> None:
    live.json("POST", "/v1/events", {"events": [event(user, item_id)]})
    assert not {item["source"] for item in live.recommend(user)} & {"similar", "because_you_liked"}
    live.json("PUT", f"/v1/items/{item_id}", ROBOT, wait="visible")
    deadline = time.monotonic() + 60  # the profile that lacks it is cached for two seconds
    while not {item["source"] for item in live.recommend(user)} & {"similar", "because_you_liked"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_events_that_come_late_are_folded_in_their_order(live: Live, user: str) -> None:
    """The same likes give the same taste, whether they come in the order of their times or not."""
    other = f"{user}-other"
    likes = [("200", 1_700_000_000.0), ("50", 1_710_000_000.0), ("1", 1_720_000_000.0), ("100", 1_730_000_000.0)]
    for name, order in ((user, likes), (other, likes[::-1])):
        for item, timestamp in order:
            live.json("POST", "/v1/events", {"events": [event(name, item, timestamp=timestamp)]})
    try:
        # The shards may hear of the likes between the two.
        assert eventually(lambda: ids(live.recommend(user)) == ids(live.recommend(other)))
        assert [e["item_id"] for e in live.json("GET", f"/v1/users/{other}")["history"]] == ["100", "1", "50", "200"]
    finally:
        live.json("DELETE", f"/v1/users/{other}")
