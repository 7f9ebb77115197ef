"""Which replica of a shard a call goes to, and the other way where no direct line leads there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import numpy as np
import pytest
from msgspec import structs

from recsys.datatypes import Item
from recsys.errors import Unavailable
from recsys.state.membership import WIRE, ShardMember, VersionState
from recsys.telemetry import Silent
from recsys.transport import direct_shard, wire
from recsys.transport.channel_server import ChannelServer
from recsys.transport.direct_shard import DirectShard
from tests.support.channels import SECRET, impostor
from tests.support.world import eventually

BY_CHANNEL, BY_FALLBACK = [Item("a", "by the channel")], [Item("a", "t")]


class Fallback:
    async def search(self, query):
        raise NotImplementedError

    async def vectors(self, version, item_ids):
        return tuple(item_ids), np.ones((len(item_ids), 2), np.float32)

    async def items(self, version, item_ids):
        return [Item(i, "t") for i in item_ids]


async def test_a_replica_with_another_secret_is_counted_and_logged(
    server: ChannelServer, caplog: pytest.LogCaptureFixture
) -> None:
    """After Redis lost its data: answers come by the other way, and the log and a counter say why."""

    class Counts(Silent):
        def __init__(self) -> None:
            self.seen: list[tuple[str, float, dict[str, str]]] = []

        def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
            self.seen.append((name, amount, labels))

    counts = Counts()
    older = ShardMember("r", 0, wire=WIRE, versions={"v": VersionState("0-0")}, address=server.address)
    shard = DirectShard(0, lambda: [older], b"n" * 32, Fallback(), counts)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await shard.items("v", ["a"]) == [Item("a", "t")]
    refused = ("recsys_channel_refused_total", {"shard": "0"})
    assert counts.seen == [(refused[0], amount, refused[1]) for amount in (0, 1.0)]
    assert "restart shard-0" in caplog.text


async def test_the_fallback_answers_when_no_channel_does() -> None:
    """An address where nobody listens, and no address at all, both lead to the other way."""
    dead = ShardMember("r", 0, wire=WIRE, versions={"v": VersionState("0-0")}, address="127.0.0.1:1")
    for members in ([dead], []):
        shard = DirectShard(0, lambda members=members: members, SECRET, Fallback())
        assert await shard.items("v", ["a"]) == [Item("a", "t")]
        assert (await shard.vectors("v", ["a"]))[0] == ("a",)


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    replica = Replica()
    server = await ChannelServer.start("127.0.0.1", replica.handle, SECRET)
    replica.address = server.address
    yield replica
    server.stop()


class Replica:
    """Answers every call with one item; a call that asks for `slow`, once it may."""

    address = ""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    async def handle(self, method: int, payload: bytes) -> bytes:
        if b"slow" in payload:
            self.waiting += 1
            await self.go.wait()
        return wire.encode(BY_CHANNEL)


class Watched(list[ShardMember]):
    """Counts how often its members were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[ShardMember]:
        self.looks += 1
        return super().__iter__()


def holder(address: str, *versions: str) -> ShardMember:
    return ShardMember(address, 0, wire=WIRE, versions={v: VersionState("0-0") for v in versions}, address=address)


async def test_a_replica_of_another_format_is_not_called(
    replica: Replica, server: ChannelServer, caplog: pytest.LogCaptureFixture
) -> None:
    """During an upgrade: calls go to those that talk alike. Where none is left they are refused in words, and not sent
    by the other way, which may lead to any replica; once the others are gone that way is open again.
    """
    other = structs.replace(holder(server.address, "v"), wire=WIRE + 1)
    there: list[Sequence[ShardMember]] = [[other, holder(replica.address, "v")], [other], [other], []]
    shard = DirectShard(0, lambda: there[0], SECRET, Fallback())
    for _ in range(8):
        assert await shard.items("v", ["a"]) == BY_CHANNEL
    for _ in range(2):
        del there[0]
        with pytest.raises(Unavailable, match=f"shard-0 has .* format {WIRE + 1}; this release has {WIRE} "):
            await shard.items("v", ["a"])
    assert caplog.text.count("another release") == 1  # when the first of them came
    del there[0]
    assert await shard.items("v", ["a"]) == BY_FALLBACK


async def test_replicas_are_sorted_by_version_once_for_each_change(replica: Replica) -> None:
    """Calls between two changes look at no member; a replica that withdraws a version is asked for it no more, and what
    is under way there ends; one that is gone has no calls any more.
    """
    first = Watched([holder(replica.address, "v")])
    there: list[Sequence[ShardMember]] = [first, [holder(replica.address)], [holder(replica.address, "w")], []]
    shard = DirectShard(0, lambda: there[0], SECRET, Fallback())
    assert await shard.items("v", ["a"]) == BY_CHANNEL
    looks = first.looks
    assert await shard.items("other", ["a"]) == BY_FALLBACK
    assert await shard.items("v", ["a"]) == BY_CHANNEL
    assert first.looks == looks
    slow = asyncio.create_task(shard.items("v", ["slow"]))
    assert await eventually(lambda: replica.waiting == 1)
    del there[0]
    assert await shard.items("v", ["a"]) == BY_FALLBACK
    replica.go.set()
    assert await slow == BY_CHANNEL
    del there[0]
    replica.go.clear()
    cut = asyncio.create_task(shard.items("w", ["slow"]))
    assert await eventually(lambda: replica.waiting == 2)
    del there[0]
    assert await shard.items("w", ["a"]) == BY_FALLBACK
    assert await cut == [Item("slow", "t")]


async def test_a_replica_that_cannot_be_reached_is_left_alone_for_a_moment(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed until it has been silent for long: meanwhile others are asked, and then it is tried again."""
    monkeypatch.setattr(direct_shard, "SHUNNED_S", 60.0)
    tries: list[int] = []

    async def dies(*_: object) -> None:
        tries.append(1)

    fake, address = await impostor(dies)
    dead, both = [holder(address, "v")], [holder(address, "v"), holder(replica.address, "v")]
    there: list[Sequence[ShardMember]] = [both]
    shard = DirectShard(0, lambda: there[0], SECRET, Fallback())
    answers = [await shard.items("v", ["a"]) for _ in range(50)]
    assert (len(tries), answers.count(BY_FALLBACK), answers.count(BY_CHANNEL)) == (1, 1, 49)
    there[0] = dead
    assert await shard.items("v", ["a"]) == BY_FALLBACK
    assert len(tries) == 1
    there[0] = both
    later = time.monotonic() + 61.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    answers = [await shard.items("v", ["a"]) for _ in range(50)]
    assert (len(tries), answers.count(BY_FALLBACK), answers.count(BY_CHANNEL)) == (2, 1, 49)
    there[0] = []
    assert await shard.items("v", ["a"]) == BY_FALLBACK
    await asyncio.sleep(0)  # the connections end
    fake.close()
