"""Where items were shown: one of them by day and scenario, and the use of the whole catalogue."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from tests.support.slate_log import collect

pytestmark = pytest.mark.usefixtures("short_slots")


async def answered(http, user, **query):
    slate = (await http.get(f"/v1/users/{user}/recommendations", params={"k": 4, **query})).json()
    await http.world.gateway.answers.step()
    return slate


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


async def test_an_item_is_told_by_day_and_scenario_with_its_place(make_http):
    """Midnight may come between the two answers."""
    http = await make_http()
    began = today()
    first, second = await answered(http, "a"), await answered(http, "b")
    item, place = first["items"][2]["item_id"], 3
    assert second["items"][2]["item_id"] == item
    click = {"event_id": "e1", "user_id": "a", "item_id": item, "type": "click", "request_id": first["request_id"]}
    await http.post("/v1/events", json={"events": [click]})
    await collect(http.world.redis, http.world.gateway.log_files)
    told = (await http.get(f"/v1/metrics/items/{item}")).json()
    expected = {"shown": 2, "position": place, "clicks": 1, "conversions": 0}
    assert told["scenarios"] == [{"scenario": "home", **expected}]
    days = told["days"]
    assert {day.pop("day") for day in days} <= {began, today()}
    assert {day.pop("position") for day in days} == {expected.pop("position")}
    assert {name: sum(day[name] for day in days) for name in days[0]} == expected


async def test_an_item_that_was_never_shown_has_no_days(make_http):
    http = await make_http()
    told = (await http.get("/v1/metrics/items/sea-1")).json()
    assert (told["days"], told["scenarios"]) == ([], [])


async def test_the_use_of_the_catalogue(make_http):
    http = await make_http()
    for user in ("a", "a", "b"):
        await answered(http, user)
    await collect(http.world.redis, http.world.gateway.log_files)
    use = (await http.get("/v1/metrics/catalogue")).json()
    assert (use["places"], use["items_shown"], use["items"]) == (12, 4, len(http.world.items))
    assert use["coverage"] == pytest.approx(4 / len(http.world.items))
    assert use["effective_items"] == pytest.approx(4.0)  # each was shown three times
    assert use["top_share"] == pytest.approx(1 / 4)
    assert use["new_to_user"] == pytest.approx(8 / 12)  # the second answer told `a` nothing new


async def test_without_answers_nothing_is_divided_by_nothing(make_http):
    http = await make_http()
    use = (await http.get("/v1/metrics/catalogue")).json()
    assert (use["places"], use["items_shown"], use["coverage"], use["new_to_user"]) == (0, 0, 0.0, None)
    assert math.isfinite(use["effective_items"])


@pytest.mark.parametrize("path", ["/v1/metrics/catalogue", "/v1/metrics/items/a"])
async def test_a_period_that_ends_before_it_begins_is_refused(make_http, path):
    http = await make_http()
    answer = await http.get(path, params={"from": 200, "to": 100})
    assert (answer.status_code, answer.json()["field"]) == (422, "from")
