"""The direct line between composer and shard."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from recsys.datatypes import Item
from recsys.errors import Unavailable
from recsys.state.membership import ShardMember, VersionState
from recsys.telemetry import Silent
from recsys.transport import direct_shard, wire
from recsys.transport.channel import Channel
from recsys.transport.channel_server import ChannelServer
from recsys.transport.direct_shard import DirectShard
from recsys.transport.handshake import Unproven
from tests.support.world import eventually

SECRET = b"s" * 32


async def _handler(method: int, payload: bytes) -> bytes:
    if method == 9:
        raise ValueError("no such thing")
    await asyncio.sleep(payload[0] / 1000)  # later calls may overtake
    return bytes([method]) + payload


@pytest.fixture
async def server() -> AsyncIterator[ChannelServer]:
    server = await ChannelServer.start("127.0.0.1", _handler, SECRET)
    yield server
    server.stop()


async def test_calls_get_their_own_answers(server: ChannelServer) -> None:
    """Many calls at a time over one connection, answered out of order, each to its caller."""
    channel = Channel(server.address, SECRET)
    payloads = [bytes([50 - i, i]) for i in range(50)]
    answers = await asyncio.gather(*(channel.call(3, p) for p in payloads))
    assert answers == [b"\x03" + p for p in payloads]
    assert channel.under_way == 0
    channel.close()


async def test_a_large_payload_arrives_whole(server: ChannelServer) -> None:
    """Five megabytes cross in many reads and come back the same."""
    channel = Channel(server.address, SECRET)
    payload = b"\x00" + np.random.default_rng(1).bytes(5_000_000)
    assert await channel.call(1, payload) == b"\x01" + payload
    channel.close()


async def test_an_error_travels_as_text(server: ChannelServer) -> None:
    """The caller gets the replica's words, and the line stays open for others."""
    channel = Channel(server.address, SECRET)
    with pytest.raises(Unavailable, match="ValueError: no such thing"):
        await channel.call(9, b"\x00")
    assert await channel.call(1, b"\x00") == b"\x01\x00"
    channel.close()


async def test_without_the_secret_nothing_is_read() -> None:
    """A client with another secret is cut off before its first call reaches the handler."""
    reached = []

    async def handler(method: int, payload: bytes) -> bytes:
        reached.append(method)
        return payload

    server = await ChannelServer.start("127.0.0.1", handler, SECRET)
    channel = Channel(server.address, b"x" * 32)
    with pytest.raises(OSError):
        await channel.call(1, b"\x00")
    assert reached == []
    server.stop()


async def _called(server: ChannelServer, first: bytes, then: Callable[[bytes], bytes]) -> bytes:
    """What a hand-made client gets for a call after the greeting: `then` makes its proof of the server's answer."""
    host, port = server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first)
    answer = await reader.readexactly(64)
    writer.write(then(answer) + struct.pack("<IQB", 2, 1, 3) + b"\x00\x00")
    try:
        return await reader.read(1)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_client_proves_its_role_both_nonces_and_the_address(server: ChannelServer) -> None:
    """A server's own proof sent back, another address, another role and another line's proof open nothing."""
    nonce = os.urandom(32)

    def proof(role: bytes, address: str, secret: bytes = SECRET, mine: bytes = nonce) -> Callable[[bytes], bytes]:
        return lambda answer: hmac.digest(secret, role + mine + answer[:32] + address.encode(), "sha256")

    assert await _called(server, nonce, proof(b"client", server.address)) != b""
    for wrong in (
        lambda answer: answer[32:],
        proof(b"server", server.address),
        proof(b"client", "127.0.0.1:1"),
        proof(b"client", server.address, b"x" * 32),
        proof(b"client", server.address, mine=bytes(32)),
    ):
        assert await _called(server, nonce, wrong) == b""


async def _impostor(greet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> tuple[Any, str]:
    """A server with a greeting of its own, and its address."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await greet(reader, writer)
        writer.close()

    fake = await asyncio.start_server(met, "127.0.0.1", 0)
    host, port = fake.sockets[0].getsockname()
    return fake, f"{host}:{port}"


async def test_a_server_without_the_secret_gets_no_call_and_is_not_believed() -> None:
    """Who listens at a dead replica's address sees the nonce, and nothing of the call."""
    got: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readexactly(32))
        writer.write(os.urandom(64))
        got.append(await reader.read())

    fake, address = await _impostor(greet)
    channel = Channel(address, SECRET)
    with pytest.raises(Unproven):
        await channel.call(wire.ITEMS, b"secret question")
    with pytest.raises(ConnectionRefusedError):  # not asked again for a while
        await channel.call(wire.ITEMS, b"secret question")
    assert await eventually(lambda: len(got) == 2)
    assert got[1] == b""
    fake.close()


async def test_a_proof_cannot_be_relayed_from_another_address(server: ChannelServer) -> None:
    """A program between a composer and a live replica passes every byte on, and neither end believes it."""
    host, port = server.address.split(":")

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        back.write(await reader.readexactly(32))
        writer.write(await there.readexactly(64))
        with contextlib.suppress(EOFError):
            back.write(await reader.readexactly(32))
        back.close()

    fake, address = await _impostor(greet)
    with pytest.raises(Unproven):
        await Channel(address, SECRET).call(3, b"\x00")
    fake.close()


async def test_a_client_that_says_nothing_is_cut_off() -> None:
    """A silent connection, or one that stops in the middle of its greeting, holds no descriptor for long."""
    server = await ChannelServer.start("127.0.0.1", _handler, SECRET, greeting_s=0.05)
    host, port = server.address.split(":")
    for said in (b"", b"half of a nonce", os.urandom(32)):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        assert len(await asyncio.wait_for(reader.read(), 10)) in (0, 64)
        writer.close()
    channel = Channel(server.address, SECRET)
    await channel.call(1, b"\x00")
    await asyncio.sleep(0.1)
    assert await channel.call(1, b"\x00") == b"\x01\x00"
    channel.close()
    server.stop()


async def test_a_lost_connection_fails_its_calls_and_is_made_anew() -> None:
    """What was under way raises ConnectionResetError; the next call connects again."""
    server = await ChannelServer.start("127.0.0.1", _handler, SECRET)
    channel = Channel(server.address, SECRET)
    slow = asyncio.create_task(channel.call(1, b"\xff"))
    await asyncio.sleep(0.05)
    channel.close()
    with pytest.raises(ConnectionResetError):
        await slow
    assert await channel.call(2, b"\x00") == b"\x02\x00"
    channel.close()
    server.stop()


async def test_a_connection_that_is_lost_right_after_its_greeting_fails_the_call() -> None:
    """And leaves nobody waiting for an answer that cannot come."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, mine = await reader.readexactly(32), os.urandom(32)
        writer.write(mine + hmac.digest(SECRET, b"server" + theirs + mine + address.encode(), "sha256"))

    fake, address = await _impostor(greet)
    for _ in range(20):
        channel = Channel(address, SECRET)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionResetError):
                await channel.call(2, b"\x00")
        channel.close()
    fake.close()


async def test_garbage_of_the_right_length_is_no_frame(server: ChannelServer) -> None:
    """A frame that claims gigabytes closes the connection instead of filling memory."""
    nonce = os.urandom(32)

    def proof(answer: bytes) -> bytes:
        return hmac.digest(SECRET, b"client" + nonce + answer[:32] + server.address.encode(), "sha256")

    assert await _called(server, nonce, proof) != b""
    assert await _called(server, nonce, lambda answer: proof(answer) + b"\xff" * 13) == b""


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
            self.seen: list[tuple[str, dict[str, str]]] = []

        def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
            self.seen.append((name, labels))

    counts = Counts()
    older = ShardMember("r", 0, versions={"v": VersionState("0-0")}, address=server.address)
    shard = DirectShard(0, lambda: [older], b"n" * 32, Fallback(), counts)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await shard.items("v", ["a"]) == [Item("a", "t")]
    assert counts.seen == [("recsys_channel_refused_total", {"shard": "0"})]
    assert "restart shard-0" in caplog.text


async def test_the_fallback_answers_when_no_channel_does() -> None:
    """An address where nobody listens, and no address at all, both lead to the other way."""
    dead = ShardMember("r", 0, versions={"v": VersionState("0-0")}, address="127.0.0.1:1")
    for members in ([dead], []):
        shard = DirectShard(0, lambda members=members: members, SECRET, Fallback())
        assert await shard.items("v", ["a"]) == [Item("a", "t")]
        assert (await shard.vectors("v", ["a"]))[0] == ("a",)


BY_CHANNEL, BY_FALLBACK = [Item("a", "by the channel")], [Item("a", "t")]


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
    return ShardMember(address, 0, versions={version: VersionState("0-0") for version in versions}, address=address)


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

    fake, address = await _impostor(dies)
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
