"""What is left of a request's time: queues and shards go by when its caller began to wait."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import numpy as np
import pytest

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.errors import CallerGone, Overloaded, Unavailable
from recsys.shard.probes import nearest_query
from recsys.transport.clock import Clock
from recsys.transport.coalescing import Caller, Coalescer
from tests.support.world import DIMENSION

RECOMMEND = "/v1/users/u/recommendations"


def stamped(age_s: float, machine: str | None = None) -> str:
    """HAProxy's note of a request that it read so many seconds ago."""
    return f"t={int((time.time() - age_s) * 1e6)},{machine or socket.gethostname()}"


class Someone(Caller):
    gone = False


async def test_those_who_left_or_waited_too_long_are_never_in_a_batch(clock):
    """Each is told his own reason, and who stays is answered."""
    batches: list[list[int]] = []
    go = asyncio.Event()

    async def work(batch: list[int]) -> list[int]:
        batches.append(batch)
        await go.wait()
        return batch

    queue: Coalescer[int, int] = Coalescer(work, max_batch=8, max_in_flight=1, budget_s=60)
    first = asyncio.create_task(queue.submit(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls = [asyncio.create_task(queue.submit(1))]  # who comes first waits too long
    await asyncio.sleep(0)
    clock.forward(50)
    left, stays = Someone(), Someone()
    calls += [asyncio.create_task(queue.submit(n, who)) for n, who in enumerate((left, stays), 2)]
    await asyncio.sleep(0)
    clock.forward(11)
    left.gone = True
    go.set()
    overdue, gone, answer = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(gone, CallerGone)
    assert isinstance(overdue, Overloaded)
    assert answer == 3
    assert await first == 0
    assert batches == [[0], [3]]
    assert queue.given_up == {"gone": 1, "late": 1}


async def test_a_shard_leaves_out_searches_whose_callers_have_given_up(make_world, monkeypatch):
    """Behind a slow search, those that are late by then are passed over, and one that is not is done."""
    world = await make_world(shards=1)
    [replica] = world.clients[0].replicas
    vectors = np.random.default_rng(1).random((8, DIMENSION), np.float32)
    query = nearest_query(world.follower.serve.version, vectors, 5)
    replica.watch.pace.note(8, 80.0)  # walks are known to be slow: searches wait for the thread, one behind another
    searched: list[float] = []
    plain = replica.watch.search

    def slow(shard, asked):
        searched.append(asked.left_s)
        time.sleep(0.1)
        return plain(shard, asked)

    monkeypatch.setattr(replica.watch, "search", slow)
    fields = {f: getattr(query, f) for f in query.__slots__}
    asked = [type(query)(**fields | {"left_s": left_s}) for left_s in (30.0, 0.01, 0.01, 0.01, 20.0)]
    found = await asyncio.gather(*(replica.search(one) for one in asked), return_exceptions=True)
    assert [isinstance(one, Unavailable) for one in found] == [False, True, True, True, False]
    assert searched == [30.0, 20.0]


async def test_shards_are_told_what_is_left_of_the_budget(make_world, monkeypatch):
    world = await make_world(shards=1, serving=Serving(budget_s=60))
    told: list[float] = []
    plain = world.clients[0].search
    monkeypatch.setattr(world.clients[0], "search", lambda query: told.append(query.left_s) or plain(query))
    http = make_api(world.gateway, Gate(), Traces("r"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(http), base_url="http://localhost") as caller:
        stamp = {"x-request-start": stamped(30)}
        assert (await caller.get(RECOMMEND, headers=stamp)).status_code == 200
        assert (await caller.get(RECOMMEND)).status_code == 200
    assert 0 < told[0] <= 30
    assert told[0] < told[1] <= 60


async def test_one_that_came_late_takes_no_time_from_others(make_world, monkeypatch):
    """The batch of one whose budget is nearly over is searched for half a budget, and whole."""
    world = await make_world(shards=1, serving=Serving(budget_s=60))
    told: list[float] = []
    plain = world.clients[0].search
    monkeypatch.setattr(world.clients[0], "search", lambda query: told.append(query.left_s) or plain(query))
    queries = [RecQuery(k=3), RecQuery(k=3, since=time.monotonic() - 50.0)]
    slates = await asyncio.gather(*(world.gateway.recommend(q, Caller(q.since)) for q in queries))
    assert told[0] > 20
    assert not any(slate.degraded for slate in slates)


async def test_others_are_not_refused_for_one_that_came_late():
    """Who finds somebody old in the queue is told to come again by his own wait there, not by the other's age."""
    go = asyncio.Event()

    async def flight(batch: list[str]) -> list[str]:
        await go.wait()
        return batch

    queue: Coalescer[str, str] = Coalescer(flight, max_batch=8, max_in_flight=1, max_wait_s=100, budget_s=300)
    tasks = [asyncio.create_task(queue.submit("first"))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    old = Caller(time.monotonic() - 50)
    tasks.append(asyncio.create_task(queue.submit("old", old)))
    await asyncio.sleep(0)
    old.since -= 100
    tasks.append(asyncio.create_task(queue.submit("new")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):  # the machine is slow for all
        await queue.submit("old as well", Caller(time.monotonic() - 150))
    go.set()
    assert await asyncio.gather(*tasks) == ["first", "old", "new"]


def test_a_clock_counts_from_the_moment_that_it_is_told():
    assert Clock(60.0, time.monotonic() - 40).left() <= 20
    assert Clock(60.0).left() > 20
