"""The direct line between composer and shard."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hmac
import os
import socket

import numpy as np
import pytest

from recsys.errors import Unavailable
from recsys.transport.channel import Channel
from recsys.transport.channel_server import ChannelServer
from recsys.transport.local_socket import local_name
from tests.support.channels import SECRET, handler, impostor
from tests.support.world import eventually


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
