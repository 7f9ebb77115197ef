"""Calls of one item that wait are bounded, whichever way they go. Over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.config.serving import Serving
from tests.support.served_api import Held, port_of, serve
from tests.support.world import World, eventually

READ, DELETE = ("GET", "/v1/items/sea-1"), ("DELETE", "/v1/items/sea-2")
BY_FASTAPI = ("DELETE", "/v1/items/sea-3?wait=visible")
SIMILAR = ("GET", "/v1/items/sea-1/similar")
"""The short way, and FastAPI's, which `wait` makes a delete take."""


class Served:
    """A platform in this process with room for two waiting calls of each kind, behind a real uvicorn."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.world = world
        self.http = http

    def ask(self, call: tuple[str, str]) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.http.request(*call))


@pytest.fixture
async def served(make_world: Callable[..., Any]) -> AsyncIterator[Served]:
    async with AsyncExitStack() as started:
        world = await make_world(shards=1, serving=Serving(budget_s=20, max_waiting=2, flights=1, max_batch=1))
        front = make_api(world.gateway, Gate(), Traces("r"))
        port = port_of(await started.enter_async_context(serve(front, log_level="error")))
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
        yield Served(world, await started.enter_async_context(http))


def told_to_come_again(answer: httpx.Response) -> bool:
    """Whether it is the 429 of a full platform, in its usual words."""
    problem = answer.json()
    facts = (answer.status_code, answer.headers["content-type"], problem["code"], problem["title"])
    assert facts == (429, "application/problem+json", "overloaded", "Too Many Requests")
    assert answer.headers["retry-after"] == "1"
    return "waiting already" in problem["detail"]


@pytest.mark.parametrize("way", ["short", "FastAPI"])
async def test_reads_past_the_bound_are_told_to_come_again(served, way, monkeypatch, of_fastapi):
    """Two wait, the third and fourth are refused at once, and a delete has a place all the same. Then there is room."""
    if way == "FastAPI":
        monkeypatch.setattr("deployments.api.short_items.ShortItems.asked", lambda *_: None)
    held = Held(served.world, "items")
    under_way = [served.ask(READ) for _ in range(2)]
    assert await eventually(lambda: held.waiting == 2)
    for _ in range(2):
        assert told_to_come_again(await served.ask(READ))
    under_way.append(served.ask(DELETE))
    assert await eventually(lambda: held.waiting == 3)
    held.let_go()
    assert [(await call).status_code for call in under_way] == [200] * 3
    assert [(await served.ask(("GET", f"/v1/items/{item}"))).status_code for item in ("none", "none", "none")] == [
        404
    ] * 3
    assert (await served.ask(READ)).status_code == 200
    assert bool(of_fastapi) == (way == "FastAPI")


async def test_deletes_of_both_ways_have_one_bound(served, of_fastapi):
    held = Held(served.world, "items")
    under_way = [served.ask(DELETE), served.ask(BY_FASTAPI)]
    assert await eventually(lambda: held.waiting == 2)
    for call in (DELETE, BY_FASTAPI):
        assert told_to_come_again(await served.ask(call))
    held.let_go()
    assert [(await call).status_code for call in under_way] == [200, 200]
    assert (await served.ask(("DELETE", "/v1/items/none"))).status_code == 404
    assert of_fastapi == ["DELETE /v1/items/sea-3"] * 2


async def test_similar_items_are_bounded_by_the_queue_of_slates(served):
    held = Held(served.world, "search")
    under_way = [served.ask(SIMILAR)]
    assert await eventually(lambda: held.waiting == 1)
    under_way += [served.ask(SIMILAR) for _ in range(2)]
    assert await eventually(lambda: len(served.world.gateway.slates) == 2)
    assert told_to_come_again(await served.ask(SIMILAR))
    held.let_go()
    assert [(await call).status_code for call in under_way] == [200] * 3


async def test_a_read_that_fails_leaves_its_place(served):
    """A shard that does not answer must not fill the bound for good."""
    served.world.clients[0].error = OSError("gone")
    assert [(await served.ask(READ)).status_code for _ in range(4)] == [503] * 4
    served.world.clients[0].error = None
    assert (await served.ask(READ)).status_code == 200
