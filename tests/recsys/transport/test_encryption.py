"""Channels that leave their machine: TLS, and a proof that covers the certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from recsys.transport import channel, channel_server
from recsys.transport.channel import Channel
from recsys.transport.channel_server import ChannelServer
from recsys.transport.encryption import client_context, leaves_the_machine, server_tls
from recsys.transport.handshake import NONCE, PROOF, Unproven

SECRET = b"s" * 32
SENT = b"what a user watched"


async def closed() -> None:
    """Both ends of TLS say goodbye, in some turns of the event loop. A pause of this machine takes none of them."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def _echo(_method: int, payload: bytes) -> bytes:
    return payload


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback counts as a network: a test has no second machine."""
    monkeypatch.setattr(channel, "leaves_the_machine", lambda _host: True)
    monkeypatch.setattr(channel_server, "leaves_the_machine", lambda _host: True)


@pytest.fixture
async def server(far: None) -> AsyncIterator[ChannelServer]:
    server = await ChannelServer.start("127.0.0.1", _echo, SECRET)
    yield server
    server.stop()


def test_only_loopback_stays_on_the_machine() -> None:
    assert not leaves_the_machine("127.0.0.1")
    assert not leaves_the_machine("::1")
    assert leaves_the_machine("10.0.0.2")
    assert leaves_the_machine("fd00::2")


async def test_calls_are_answered_over_tls(server: ChannelServer) -> None:
    """Many at a time, and large ones."""
    line = Channel(server.address, SECRET)
    payloads = [bytes([n]) * (n * 10_000 + 1) for n in range(50)]
    assert await asyncio.gather(*(line.call(1, payload) for payload in payloads)) == payloads
    line.close()
    await closed()


async def test_nobody_on_the_way_can_read_a_call(server: ChannelServer) -> None:
    """What crosses the network holds nothing of the payload, which plain TCP would show."""
    seen = bytearray()
    host, _, port = server.address.rpartition(":")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(host, int(port))

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    seen.extend(data)
                    sink.write(data)
            sink.close()

        await asyncio.gather(pass_on(reader, ours), pass_on(theirs, writer))

    between = await asyncio.start_server(relay, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*between.sockets[0].getsockname()[:2], ssl=client_context())
    writer.write(SENT.ljust(NONCE, b"."))
    await reader.readexactly(NONCE + PROOF)
    assert len(seen) > NONCE + PROOF
    assert SENT not in seen
    writer.close()
    between.close()
    await closed()


async def test_who_ends_the_tls_of_one_side_is_found_out(far: None) -> None:
    """A program at the server's own address shows another certificate and relays the greeting: it fails the proof."""
    server = await ChannelServer.start("127.0.0.1", _echo, SECRET)
    host, _, port = server.address.rpartition(":")
    theirs, ours = await asyncio.open_connection(host, int(port), ssl=client_context())
    server.stop()  # who is connected stays; now the address is free for someone else
    reached: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours.write(await reader.readexactly(NONCE))
        writer.write(await theirs.readexactly(NONCE + PROOF))
        with suppress(asyncio.IncompleteReadError, OSError):
            reached.append(await reader.readexactly(PROOF))
        writer.close()

    between = await asyncio.start_server(relay, host, int(port), ssl=server_tls().context)
    line = Channel(server.address, SECRET)
    with pytest.raises(Unproven):
        await line.call(1, SENT)
    assert reached == []
    between.close()
    ours.close()
    await closed()


async def test_a_plain_client_gets_nothing(server: ChannelServer) -> None:
    """Whoever speaks no TLS is cut off."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(bytes(NONCE))
    with suppress(OSError):
        assert len(await reader.read(NONCE + PROOF)) < NONCE  # at the most an alert
    writer.close()
    await closed()


def test_an_old_tls_is_refused() -> None:
    assert server_tls().context.minimum_version == client_context().minimum_version == ssl.TLSVersion.TLSv1_3
