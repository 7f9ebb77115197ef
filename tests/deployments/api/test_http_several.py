"""Several slates in one call over HTTP: those of many users, and the rows of a page."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import httpx
import numpy as np
import pytest

from recsys.config.serving import Limits, Serving
from recsys.datatypes import item_keys
from recsys.errors import Overloaded
from recsys.serving import several_answers
from recsys.state import redis_keys
from recsys.state.shown_items import ShownItems
from recsys.state.slate_columns import decode_answers
from tests.support.world import event

BATCH, PAGES = "/v1/recommendations/batch", "/v1/pages"


async def post(http: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(path, json=body, headers={"x-request-id": "call"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(slate: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in slate["items"]]


async def logged(http: Any) -> dict[str, list[str]]:
    """What is logged, by the id of its request."""
    await http.world.gateway.answers.step()
    entries = await http.world.redis.xrange(redis_keys.ANSWERS)
    answers: dict[str, list[str]] = {}
    for _, fields in entries:
        columns = decode_answers(fields[b"data"])
        items = iter(columns.items.split("\n"))
        for request_id, count in zip(columns.request_ids, np.frombuffer(columns.counts, np.int32), strict=True):
            answers[request_id] = list(itertools.islice(items, int(count)))
    return answers


async def test_users_are_answered_as_if_each_had_asked_alone(make_http) -> None:
    """In their order, each with an id of its own under which the answer is logged; more than one turn of them."""
    http = await make_http(serving=Serving(budget_s=20))
    users = [f"u{n}" for n in range(several_answers.AT_ONCE + 5)]
    await http.world.gateway.record([event(user, f"sea-{n % 12}") for n, user in enumerate(users)])
    await http.world.counted()
    whole = await post(http, BATCH, users=users, k=5, explain=True)
    assert [answer["user_id"] for answer in whole["answers"]] == users
    assert await logged(http) == {f"call.{n}": ids(answer) for n, answer in enumerate(whole["answers"])}
    for user, answer in zip(users, whole["answers"], strict=True):
        alone = (await http.post("/v1/recommendations", json={"user_id": user, "k": 5})).json()
        assert (ids(answer), answer["degraded"]) == (ids(alone), [])
        assert answer["index_version"] == alone["index_version"]
    assert whole["answers"][3]["request_id"] == "call.3"


async def test_one_users_error_is_that_users_alone(make_http, monkeypatch) -> None:
    """The others are answered; where nobody is, the call itself is told."""
    http = await make_http()
    slate, lost = http.world.gateway.slate, {"b"}

    async def overloaded(query, text, caller=None):
        if query.user_id in lost:
            raise Overloaded("full")
        return await slate(query, text, caller)

    monkeypatch.setattr(http.world.gateway, "slate", overloaded)
    first, second = (await post(http, BATCH, users=["a", "b"]))["answers"]
    assert len(first["items"]) == 10
    assert second["error"] == {"status": 429, "code": "overloaded", "detail": "full"}
    assert (second["user_id"], "items" in second) == ("b", False)
    lost.add("a")
    refused = await http.post(BATCH, json={"users": ["a", "b"]})
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")


async def test_no_item_comes_in_two_rows(make_http) -> None:
    """Rows of every kind and with filters of their own: each is full, and the first as it is alone."""
    http = await make_http()
    sea = {"must": [{"key": "topic", "eq": "sea"}]}
    rows: list[dict[str, Any]] = [
        {"name": "for you", "k": 8},
        {"name": "sea", "k": 6, "filter": sea},
        {"name": "search", "scenario": "search", "text": "sea wave", "k": 6},
        {"name": "alike", "scenario": "similar", "item_id": "sea-1", "k": 6},
        {"name": "for you as well", "k": 8},
    ]
    page = await post(http, PAGES, user_id="ann", rows=rows)
    assert [row["name"] for row in page["rows"]] == [row["name"] for row in rows]
    assert [row["scenario"] for row in page["rows"]] == ["home", "home", "search", "similar", "home"]
    shown = [item for row in page["rows"] for item in ids(row)]
    assert len(shown) == len(set(shown))
    assert [len(row["items"]) for row in page["rows"]][::2] == [8, 6, 8]
    assert all([item["rank"] for item in row["items"]] == list(range(1, len(row["items"]) + 1)) for row in page["rows"])
    assert {item.partition("-")[0] for item in ids(page["rows"][1])} == {"sea"}
    alone = (await http.post("/v1/recommendations", json={"user_id": "ann", "k": 8})).json()
    assert ids(page["rows"][0]) == ids(alone)
    assert (await logged(http))["call.1"] == ids(page["rows"][1])


async def test_a_row_that_those_before_it_leave_too_little_says_so(make_http) -> None:
    http = await make_http()
    sea = {"must": [{"key": "topic", "eq": "sea"}]}
    first, second, third = (await post(http, PAGES, rows=[{"k": n, "filter": sea} for n in (8, 8, 8)]))["rows"]
    assert (len(first["items"]), len(second["items"]), len(third["items"])) == (8, 4, 0)
    assert "notes" not in first
    assert second["notes"] == ["fewer_than_k", "in_earlier_rows"]
    assert third["notes"] == ["in_earlier_rows"]


async def test_given_items_are_ranked_without_those_shown_above(make_http) -> None:
    http = await make_http()
    given = ["sea-1", "sea-2", "forest-1", "none"]
    one = {"scenario": "rank", "items": given}
    first, second = (await post(http, PAGES, rows=[{"scenario": "rank", "items": ["sea-2"]}, one]))["rows"]
    assert ids(first) == ["sea-2"]
    assert set(ids(second)) == {"sea-1", "forest-1"}
    assert second["unknown_items"] == ["none"]


async def test_a_row_that_fails_leaves_the_others(make_http) -> None:
    """What does not exist is that row's error; a page of which nothing is left is told as one."""
    http = await make_http()
    lost = {"scenario": "similar", "item_id": "no such"}
    page = await post(http, PAGES, rows=[lost, {"k": 3}])
    assert (page["rows"][0]["error"]["status"], page["rows"][0]["error"]["code"]) == (404, "not_found")
    assert len(page["rows"][1]["items"]) == 3
    answer = await http.post(PAGES, json={"rows": [lost]})
    assert (answer.status_code, answer.json()["field"]) == (404, "item_id")


async def test_what_is_shown_of_a_page_is_noted_for_rotation(make_http) -> None:
    """And not what was ranked for it beside that."""
    serving = Serving(budget_s=20)
    home = serving.scenarios["home"].model_copy(update={"rotation": 2.0})
    http = await make_http(serving=serving.model_copy(update={"scenarios": {**serving.scenarios, "home": home}}))
    page = await post(http, PAGES, user_id="ann", rows=[{"k": 4}, {"k": 4}])
    await http.world.gateway.rotation.noted()
    noted = (await ShownItems(http.world.redis).load(["ann"]))["ann"].keys
    assert set(noted.tolist()) == set(item_keys([i for row in page["rows"] for i in ids(row)]).tolist())


async def test_a_pages_basket_and_context_hold_for_all_rows(make_http) -> None:
    http = await make_http(context={"device": "keyword"})
    here = {"must": [{"key": "topic", "eq": {"context": "device"}}]}
    rows = [{"k": 3, "filter": here}, {"k": 3, "filter": here}]
    page = await post(http, PAGES, rows=rows, context={"device": "sea"}, events=[{"item_id": "sea-1", "type": "like"}])
    shown = [item for row in page["rows"] for item in ids(row)]
    assert {item.partition("-")[0] for item in shown} == {"sea"}
    assert "sea-1" not in shown


@pytest.mark.parametrize("limits", [Limits(k=5)])
async def test_limits_of_one_slate_hold_for_each(make_http, limits) -> None:
    http = await make_http(serving=Serving(budget_s=20, limits=limits))
    refused = [await http.post(BATCH, json={"users": ["a"]}), await http.post(PAGES, json={"rows": [{"k": 6}]})]
    assert [answer.json()["field"] for answer in refused] == ["k", "rows[0].k"]


async def test_many_calls_at_once_are_all_answered(make_http) -> None:
    """Single reads among them."""
    http = await make_http(serving=Serving(budget_s=20))
    calls = [http.post(BATCH, json={"users": [f"u{n}" for n in range(50)]}) for _ in range(4)]
    singles = [http.get(f"/v1/users/u{n}/recommendations") for n in range(20)]
    answers = await asyncio.gather(*calls, *singles)
    assert {answer.status_code for answer in answers} == {200}
    assert all(len(answer.json()["answers"]) == 50 for answer in answers[:4])
