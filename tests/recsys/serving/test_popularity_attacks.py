"""What one caller can do to everybody's popular items, over HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.world import catalogue, eventually

_numbers = itertools.count()


@pytest.fixture
async def http(make_http: Callable[..., Any]) -> Any:
    """A platform of twelve items and two shards: four users like forest-0, two like kitchen-0."""
    http = await make_http(items=catalogue(3), shards=2)
    likes = {"forest-0": 4, "kitchen-0": 2}
    await post(http, *((f"fan-{n}", item, "like") for item, fans in likes.items() for n in range(fans)))
    await popular(http, "forest-0", 1.0)
    await popular(http, "kitchen-0", 0.6826)  # log(1 + 2) / log(1 + 4); the shards follow each on its own
    return http


async def post(http: Any, *told: tuple[str, str, str]) -> None:
    events = [
        {"event_id": f"e{next(_numbers)}", "user_id": user, "item_id": item, "type": kind} for user, item, kind in told
    ]
    answer = (await http.post("/v1/events", json={"events": events})).json()
    assert answer["accepted"] == len(events), answer


async def signals(http: Any) -> dict[str, float]:
    """The popularity signal of every item, as somebody new is told it."""
    slate = (await http.get("/v1/users/new/recommendations?k=20&explain=true&diversity=0")).json()
    return {item["item_id"]: item["signals"]["popularity"] for item in slate["items"]}


async def popular(http: Any, item: str, expected: float) -> dict[str, float]:
    """The signals, once an item's is the expected one."""

    async def reached() -> bool:
        return (await signals(http)).get(item, 0.0) == pytest.approx(expected, abs=1e-4)

    assert await eventually(reached), await signals(http)
    return await signals(http)


async def test_a_user_who_likes_and_dislikes_again_and_again_says_what_was_said_last(http):
    """Twenty likes, each taken back, are none; and one more like of another is one."""
    before = await signals(http)
    await post(http, *(("u", "sea-0", kind) for _ in range(20) for kind in ("like", "dislike")), ("u", "sea-1", "like"))
    after = await popular(http, "sea-1", 0.4307)  # log(1 + 1) / log(1 + 4)
    assert {i: s for i, s in after.items() if i != "sea-1"} == {i: s for i, s in before.items() if i != "sea-1"}


async def test_a_user_who_likes_a_thousand_times_likes_once(http):
    """The first place stays with what four have liked."""
    await post(http, *(("bot", f"sea-{n % 3}", "like") for n in range(900)), *[("bot", "sea-0", "purchase")] * 100)
    await popular(http, "sea-1", 0.4307)
    after = await popular(http, "sea-0", 0.5693)  # log(1 + 1.5) / log(1 + 4)
    assert max(after, key=lambda item: after[item]) == "forest-0"


async def test_likes_of_what_is_not_there_weigh_nothing(http):
    """Neither before the item comes nor after it is deleted; while it is there they are its own."""
    before = await signals(http)
    crowd = [(f"bot-{n % 40}", "ghost", "like") for n in range(800)]
    await post(http, *crowd, ("u", "sea-0", "like"))
    assert await popular(http, "sea-0", 0.4307) == before | {"sea-0": pytest.approx(0.4307, abs=1e-4)}
    await http.put("/v1/items/ghost?wait=visible", json={"title": "ghost of a rocket"})
    with_it = await popular(http, "ghost", 1.0)
    assert with_it["forest-0"] == pytest.approx(0.4334, abs=1e-4)  # log(1 + 4) / log(1 + 40)
    await http.delete("/v1/items/ghost?wait=visible")
    assert (await popular(http, "forest-0", 1.0))["kitchen-0"] == before["kitchen-0"]


async def test_an_erased_user_takes_the_likes_along(http):
    """What the user liked is as popular as if the user had never been."""
    before = await signals(http)
    await post(http, ("u", "sea-0", "purchase"))
    await popular(http, "sea-0", 0.5693)
    assert (await http.delete("/v1/users/u")).json()["events_erased"] == 1
    assert await popular(http, "sea-0", 0.0) == before
