"""A part that is away is not waited for by every request."""

from __future__ import annotations

import asyncio

import numpy as np

from recsys.config.platform import RoutingSpec
from recsys.datatypes import Floats, Item
from recsys.routing import Router
from recsys.transport import breaker as breaker_module
from recsys.transport.breaker import Breaker
from recsys.transport.shard_clients import Shards


def test_it_opens_after_failures_in_a_row_and_closes_with_one_answer(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(breaker_module.time, "monotonic", lambda: now[0])
    breaker = Breaker()
    assert [breaker.record(answered=a) for a in (False, False, True, False, False)] == [False] * 5
    assert breaker.allows()
    assert breaker.record(answered=False)
    assert not breaker.allows()
    now[0] += 0.6
    assert [breaker.allows(), breaker.allows()] == [True, False]  # one try in each pause
    assert not breaker.record(answered=False)
    assert not breaker.allows()
    now[0] += 0.6
    assert breaker.allows()
    breaker.record(answered=True)
    assert [breaker.allows() for _ in range(3)] == [True] * 3


class Hanging:
    """A shard that answers only while told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = False

    async def vectors(self, version: str, item_ids: list[str]) -> tuple[tuple[str, ...], Floats]:
        self.asked += 1
        if not self.answers:
            await asyncio.sleep(3600)
        return tuple(item_ids), np.ones((len(item_ids), 2), np.float32)

    async def items(self, version: str, item_ids: list[str]) -> list[Item]:
        return []

    async def search(self, query):
        raise NotImplementedError


async def test_a_hanging_shard_costs_its_timeout_a_few_times_only(clock, monkeypatch):
    """Ten requests wait three times, are told each time what is missing, and find it again when it answers."""
    monkeypatch.setattr(breaker_module, "PAUSE_S", 60.0)
    client = Hanging()
    shards = Shards(lambda _: client, lambda _: Router(RoutingSpec(), 1))
    for _ in range(10):
        found, missing = await shards.vectors("v", ["a"], 0.06)
        assert (found, missing) == ({}, ("shard-0",))
    assert client.asked == 3
    client.answers = True
    clock.forward(60.0)
    assert (await shards.vectors("v", ["a"], 20.0))[1] == ()
