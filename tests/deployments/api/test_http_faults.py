"""Every call of the API while a part is away: an answer, or a documented refusal that says what to do."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from recsys.config.serving import Serving
from recsys.errors import Unavailable
from tests.support.world import World

CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/users/u/recommendations", None),
    ("GET", '/v1/users/u/recommendations?filter={"must":[{"key":"topic","eq":"sea"}]}&explain=true', None),
    ("POST", "/v1/recommendations", {"user_id": "u", "exclude": ["sea-1"]}),
    ("POST", "/v1/rank", {"user_id": "u", "items": ["sea-1", "sea-2", "none"]}),
    ("POST", "/v1/search", {"text": "sea", "user_id": "u"}),
    ("GET", "/v1/items/sea-1/similar", None),
    ("GET", "/v1/items/none/similar", None),
    ("GET", "/v1/items/sea-1", None),
    ("GET", "/v1/items/none", None),
    ("GET", "/v1/users/u", None),
    ("GET", "/v1/status", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("POST", "/v1/events", {"events": [{"event_id": "e", "user_id": "u", "item_id": "sea-1", "type": "like"}]}),
    ("PUT", "/v1/items/x", {"title": "a title"}),
    ("PUT", "/v1/items/x?wait=visible", {"title": "a title"}),
    ("POST", "/v1/items", {"items": [{"item_id": "y", "title": "a title"}]}),
    ("DELETE", "/v1/items/none", None),
    ("DELETE", "/v1/items/x", None),
    ("DELETE", "/v1/users/u", None),
]


async def answers(http: Any) -> dict[str, int]:
    async def ask(method: str, path: str, body: Any) -> int:
        answer = await http.request(method, path, json=body)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        return int(answer.status_code)

    told = await asyncio.gather(*(ask(*call) for call in CALLS))
    return {f"{method} {path}": status for (method, path, _), status in zip(CALLS, told, strict=True)}


def shard_refuses(world: World) -> None:
    for client in world.clients:
        client.error = Unavailable("no")


def shard_breaks(world: World) -> None:
    world.clients[0].error = ValueError("something else")


def shard_is_late(world: World) -> None:
    for client in world.clients:
        client.delay_s = 30


def encoder_is_away(world: World) -> None:
    world.encoder_down = True


def encoder_is_late(world: World) -> None:
    world.encoder_delay_s = 30


FAULTS = [shard_refuses, shard_breaks, shard_is_late, encoder_is_away, encoder_is_late]


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_part_is_away_no_call_answers_500(make_http, fault):
    http = await make_http(shards=2, serving=Serving(budget_s=0.5, write_budget_s=1))
    fault(http.world)
    for _ in range(2):
        told = await answers(http)
        assert set(told.values()) <= {200, 404, 409, 429, 503}, told


async def test_without_redis_no_call_answers_500(own_redis, make_http, own_valkey):
    http = await make_http(redis=own_redis, serving=Serving(budget_s=2, write_budget_s=2))
    own_valkey.stop()
    told = await answers(http)
    assert set(told.values()) <= {200, 404, 409, 429, 503}, told


async def test_versions_that_change_fail_no_call(make_http):
    http = await make_http()
    world, stop = http.world, time.monotonic() + 3
    versions = [world.store.current(), world.publish(world.items[:-3]).version]
    told: set[int] = set()

    async def ask() -> None:
        while time.monotonic() < stop:
            told.update((await answers(http)).values())
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    for n in range(6):
        world.store.promote(versions[(n + 1) % 2])
        await asyncio.sleep(0.5)
    await asking
    assert told <= {200, 404, 409}, told
