"""A shard of replicas on real channels, some of which keep their callers waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import cache

import numpy as np

from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.state.membership import WIRE, ShardMember, VersionState
from recsys.telemetry import Silent
from recsys.transport import direct_shard, wire
from recsys.transport.channel_server import ChannelServer
from recsys.transport.direct_shard import DirectShard
from recsys.transport.hedging import Hedging
from tests.support.channels import SECRET
from tests.support.clock import Clock
from tests.support.small_shards import make_shard
from tests.support.world import eventually

QUERY = nearest_query("v", np.ones((1, 16), np.float32), 3)


@cache
def answer() -> CandidateSet:
    """What every replica finds."""
    return search(make_shard(60, "flat"), QUERY)


LATE_S = 30.0


def saved() -> Hedging:
    """Calls took as long, and eight may be made again: no pause of this machine makes a call late."""
    hedging = Hedging()
    for _ in range(320):
        hedging.record(LATE_S)
    return hedging


class Replica:
    """Answers searches; while it is `held`, none of them."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.searches = self.waiting = 0
        self.error: Exception | None = None

    async def handle(self, method: int, payload: bytes) -> bytes:
        self.searches += 1
        self.waiting += 1
        await self.free.wait()
        self.waiting -= 1
        if self.error is not None:
            raise self.error
        assert method == wire.SEARCH
        assert wire.decode_query(payload).version == "v"
        return wire.encode(answer())


class Counts(Silent):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        if amount == 0:  # so that the metric is there from the start
            return
        assert (name, amount) == ("recsys_hedged_calls_total", 1.0)
        self.outcomes.append(labels["outcome"])


class Fallback:
    searches = 0

    async def search(self, query: ShardQuery) -> CandidateSet:
        self.searches += 1
        return answer()

    async def vectors(self, version, item_ids):
        raise NotImplementedError

    async def items(self, version, item_ids):
        raise NotImplementedError


class Stage:
    """A shard of some replicas, on real channels."""

    def __init__(self, replicas: list[Replica], addresses: list[str], hedging: Hedging | None) -> None:
        self.replicas, self.counts, self.fallback, self.hedging = replicas, Counts(), Fallback(), hedging
        self.members = [ShardMember(a, 0, wire=WIRE, versions={"v": VersionState("0-0")}, address=a) for a in addresses]
        self.shard = DirectShard(0, lambda: self.members, SECRET, self.fallback, self.counts, hedging)

    @property
    def searches(self) -> int:
        return sum(replica.searches for replica in self.replicas)

    async def ask(self) -> None:
        assert len((await self.shard.search(QUERY)).keys) == len(answer().keys)

    def hold(self, replica: Replica) -> Replica:
        replica.free.clear()
        return replica

    async def close(self) -> None:
        """All replicas are gone: their channels are closed with the next call."""
        self.members = []
        await self.ask()


@contextlib.asynccontextmanager
async def stage(n: int, hedging: Hedging | None) -> AsyncIterator[Stage]:
    replicas = [Replica() for _ in range(n)]
    servers = [await ChannelServer.start("127.0.0.1", replica.handle, SECRET) for replica in replicas]
    one = Stage(replicas, [server.address for server in servers], hedging)
    yield one
    for replica in replicas:
        replica.free.set()
    await one.close()
    for server in servers:
        server.stop()
    await asyncio.sleep(0.01)


async def asked(here: Stage) -> asyncio.Task[None]:
    """A call that waits for a replica which is held. Until there is one, calls are answered by the other."""
    while True:
        asking = asyncio.create_task(here.ask())
        assert await eventually(lambda asking=asking: asking.done() or any(one.waiting for one in here.replicas))
        if not asking.done():
            return asking
        await asking


async def asked_twice(here: Stage, clock: Clock) -> asyncio.Task[None]:
    """A call that both replicas keep waiting."""
    for replica in here.replicas:
        here.hold(replica)
    asking = await asked(here)
    clock.forward(LATE_S)
    assert await eventually(lambda: all(one.waiting for one in here.replicas))
    return asking


async def asked_once(here: Stage, clock: Clock) -> None:
    """All replicas are late, and nobody is asked a second time."""
    for replica in here.replicas:
        here.hold(replica)
    asking = asyncio.create_task(here.ask())
    assert await eventually(lambda: here.searches)
    clock.forward(LATE_S)
    await asyncio.sleep(0.1)
    assert here.searches == 1
    for replica in here.replicas:
        replica.free.set()
    await asking


async def asked_in_vain(here: Stage, clock: Clock) -> None:
    """A call that a held replica keeps waiting for longer than replicas may be silent, and that is then given up."""
    asking = await asked(here)
    clock.forward(2 * direct_shard.SILENT_S)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
