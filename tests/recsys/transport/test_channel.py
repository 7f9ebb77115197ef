"""The direct line between composer and shard."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hmac
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from recsys.errors import Unavailable
from recsys.transport import wire
from recsys.transport.channel import Channel
from recsys.transport.channel_server import ChannelServer
from recsys.transport.handshake import Unproven
from recsys.transport.local_socket import local_name
from tests.support.channels import SECRET, handler, impostor
from tests.support.clock import Clock
from tests.support.world import eventually


@pytest.fixture
async def server() -> AsyncIterator[ChannelServer]:
    server = await ChannelServer.start("127.0.0.1", handler, SECRET)
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


async def test_a_call_that_has_left_is_awaited_later(server: ChannelServer) -> None:
    """The frame is on its way before anybody waits, and the answer is kept until somebody does."""
    channel = Channel(server.address, SECRET)
    assert channel.begin(3, b"early") is None  # there is no connection yet, and `begin` makes none
    assert await channel.call(3, b"first") == b"\x03first"
    calls = [channel.begin(3, bytes([n])) for n in range(5)]
    assert await channel.call(3, b"last") == b"\x03last"  # what left before is answered by now
    assert [await call for call in calls if call is not None] == [b"\x03" + bytes([n]) for n in range(5)]
    channel.close()


async def test_a_call_that_nobody_awaits_leaves_nothing(
    server: ChannelServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it was answered, refused, or lost with the connection."""
    channel = Channel(server.address, SECRET)
    await channel.call(1, b"\x00")
    for method in (1, 9, 1):
        channel.begin(method, b"\x00")
    assert channel.under_way == 3
    assert await eventually(lambda: channel.under_way == 0)
    channel.begin(1, b"\x00")
    server.stop()
    channel.close()
    assert await eventually(lambda: channel.under_way == 0)
    gc.collect()
    await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text


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


async def test_a_call_that_waits_for_nothing_is_answered_at_once() -> None:
    """A handler may return bytes in place of something to wait for, and what it raises travels like any other error."""

    def at_once(method: int, payload: bytes) -> bytes:
        if method == 9:
            raise ValueError("no such thing")
        return bytes([method]) + payload

    server = await ChannelServer.start("127.0.0.1", at_once, SECRET)
    channel = Channel(server.address, SECRET)
    with pytest.raises(Unavailable, match="ValueError: no such thing"):
        await channel.call(9, b"")
    assert await asyncio.gather(*(channel.call(1, b"x" * n) for n in (0, 1, 500_000))) == [
        b"\x01" + b"x" * n for n in (0, 1, 500_000)
    ]
    channel.close()
    server.stop()


async def _family(channel: Channel) -> socket.AddressFamily:
    """Of the connection's socket, once it is there."""
    assert await channel.call(1, b"\x00") == b"\x01\x00"
    family = channel.family
    channel.close()
    assert family is not None
    return family


async def test_on_one_machine_calls_go_over_a_unix_socket(server: ChannelServer) -> None:
    """And over the port where another program has the socket's name, says nothing, or passes all on to the port."""
    assert await _family(Channel(server.address, SECRET)) == socket.AF_UNIX
    host, port = server.address.split(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(OSError, EOFError):
            to_writer.write(await reader.readexactly(32))
            writer.write(await to_reader.readexactly(64))
            await reader.read()
        to_writer.close()
        writer.close()

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    assert server.beside is not None
    server.beside.close()  # as if the name had been taken before
    assert await _family(Channel(server.address, SECRET)) == socket.AF_INET
    for taken in (pass_on, close):
        other = await asyncio.start_unix_server(taken, local_name(server.address))
        assert await _family(Channel(server.address, SECRET)) == socket.AF_INET
        other.close()


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


async def test_a_server_without_the_secret_gets_no_call_and_is_not_believed() -> None:
    """Who listens at a dead replica's address sees the nonce, and nothing of the call."""
    got: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readexactly(32))
        writer.write(os.urandom(64))
        got.append(await reader.read())

    fake, address = await impostor(greet)
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

    fake, address = await impostor(greet)
    with pytest.raises(Unproven):
        await Channel(address, SECRET).call(3, b"\x00")
    fake.close()


async def test_a_client_that_says_nothing_is_cut_off(clock: Clock) -> None:
    """A silent connection, or one that stops in the middle of its greeting, holds no descriptor for long."""
    server = await ChannelServer.start("127.0.0.1", handler, SECRET, greeting_s=30.0)
    host, port = server.address.split(":")
    for said in (b"", b"half of a nonce", os.urandom(32)):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        answer = asyncio.create_task(reader.read())

        def cut_off(answer: asyncio.Task[bytes] = answer) -> bool:
            clock.forward(30.0)
            return answer.done()

        assert await eventually(cut_off, 1e6)
        assert len(await answer) in (0, 64)
        writer.close()
    channel = Channel(server.address, SECRET)
    await channel.call(1, b"\x00")
    clock.forward(60.0)
    await asyncio.sleep(0.05)
    assert await channel.call(1, b"\x00") == b"\x01\x00"
    channel.close()
    server.stop()


async def test_a_lost_connection_fails_its_calls_and_is_made_anew() -> None:
    """What was under way raises ConnectionResetError; the next call connects again."""
    reached = asyncio.Event()

    async def once_too_slow(method: int, payload: bytes) -> bytes:
        if not reached.is_set():
            reached.set()
            await asyncio.sleep(3600)
        return await handler(method, payload)

    server = await ChannelServer.start("127.0.0.1", once_too_slow, SECRET)
    channel = Channel(server.address, SECRET)
    slow = asyncio.create_task(channel.call(1, b"\xff"))
    await reached.wait()
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

    fake, address = await impostor(greet)
    for _ in range(20):
        channel = Channel(address, SECRET)
        async with asyncio.timeout(60):
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
