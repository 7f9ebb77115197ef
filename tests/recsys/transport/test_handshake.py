"""Both ends of a direct line prove that they know the secret, before anything is read."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import struct
from collections.abc import Callable

import pytest

from recsys.transport import wire
from recsys.transport.channel import Channel
from recsys.transport.channel_server import ChannelServer
from recsys.transport.handshake import Unproven
from tests.support.channels import SECRET, handler, impostor
from tests.support.clock import Clock
from tests.support.world import eventually


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


async def test_garbage_of_the_right_length_is_no_frame(server: ChannelServer) -> None:
    """A frame that claims gigabytes closes the connection instead of filling memory."""
    nonce = os.urandom(32)

    def proof(answer: bytes) -> bytes:
        return hmac.digest(SECRET, b"client" + nonce + answer[:32] + server.address.encode(), "sha256")

    assert await _called(server, nonce, proof) != b""
    assert await _called(server, nonce, lambda answer: proof(answer) + b"\xff" * 13) == b""
