"""The composer's end of the direct line to a shard's replica: many calls at a time over one TCP connection.

`frames.py` has the format, `handshake.py` the proof that both ends know the secret, `channel_server.py` the other end.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import time
from collections.abc import Awaitable, Generator
from typing import Any

from recsys.errors import Unavailable
from recsys.transport.encryption import client_context, fingerprint_shown, leaves_the_machine
from recsys.transport.frames import RESULT, Frames
from recsys.transport.handshake import NONCE, PROOF, Unproven, proof
from recsys.transport.local_socket import local_address, local_name

_REFUSED_S = 5.0
"""Seconds for which a server that failed its proof is not tried again."""


class Call:
    """A call that has left, to be awaited once at the most. It gives and raises what `Channel.call` does."""

    __slots__ = ("_answer", "_number", "_open")

    def __init__(self, number: int, answer: asyncio.Future[bytes], under_way: dict[int, asyncio.Future[bytes]]) -> None:
        self._number, self._answer, self._open = number, answer, under_way

    def __await__(self) -> Generator[Any, None, bytes]:
        try:
            return (yield from self._answer)
        finally:
            self._open.pop(self._number, None)


class _ClientEnd(Frames):
    """One connection. `ready` is done when the server has proved itself."""

    def __init__(self, secret: bytes, address: str) -> None:
        super().__init__(greeting=NONCE + PROOF)
        self._secret = secret
        self._address = address
        self._nonce = os.urandom(NONCE)
        self._numbers = 0
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.open: dict[int, asyncio.Future[bytes]] = {}
        self.waits_since: float | None = None
        """When the oldest call was sent that no answer has come after, monotonic seconds; None: all is answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self._nonce)

    def greeted(self, greeting: bytes) -> int:
        nonce, server_proof = greeting[:NONCE], greeting[NONCE:]
        shown = fingerprint_shown(self.transport)
        expected = proof(self._secret, b"server", self._nonce, nonce, self._address, shown)
        if not hmac.compare_digest(server_proof, expected):
            if not self.ready.done():
                self.ready.set_exception(Unproven(f"{self._address} does not prove that it is a shard of ours"))
            self.close()
            return 0
        self.write(proof(self._secret, b"client", self._nonce, nonce, self._address, shown))
        if not self.ready.done():
            self.ready.set_result(None)
        return 0

    def framed(self, number: int, code: int, payload: bytes) -> None:
        waiting = self.open.pop(number, None)
        self.waits_since = time.monotonic() if self.open else None
        if waiting is None or waiting.done():
            return  # its caller has given up
        if code != RESULT:
            waiting.set_exception(Unavailable(payload.decode(errors="replace")))
            waiting.exception()  # seen: nobody may be waiting for it
        else:
            waiting.set_result(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        lost = ConnectionResetError(f"the connection to the shard is lost: {exc or 'closed'}")
        for waiting in self.open.values():
            if not waiting.done():
                waiting.set_exception(lost)
                waiting.exception()  # seen: nobody may be waiting for it
        if not self.ready.done():
            self.ready.set_exception(lost)
        if self.ready.done() and not self.ready.cancelled():
            self.ready.exception()  # seen: nobody may be waiting for it
        self.open.clear()

    def begin(self, method: int, payload: bytes) -> Call:
        if self.lost:  # between the greeting and this moment: nobody would say so any more
            raise ConnectionResetError("the connection to the shard is lost")
        self._numbers += 1
        number, waiting = self._numbers, self._loop.create_future()
        self.open[number] = waiting
        if self.waits_since is None:
            self.waits_since = time.monotonic()
        self.send(number, method, payload)
        return Call(number, waiting, self.open)

    @property
    def lost(self) -> bool:
        return self.transport is None or self.transport.is_closing()


async def _greeted(end: _ClientEnd, connecting: Awaitable[object]) -> _ClientEnd:
    """The end, once it is connected and the server has proved itself."""
    try:
        await connecting
        await end.ready
    except BaseException:
        end.close()
        raise
    return end


class Channel:
    """The client's end, connected when first used and again after a loss."""

    def __init__(self, address: str, secret: bytes, connect_s: float = 1.0) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self.address = address
        self._secret = secret
        self._local = local_name(address)
        self._tls = client_context() if leaves_the_machine(host) else None
        self._connect_s = connect_s
        self._end: _ClientEnd | None = None
        self._connecting = asyncio.Lock()
        self._refused_until = 0.0

    @property
    def under_way(self) -> int:
        """Calls that wait for their answer."""
        return len(self._end.open) if self._end else 0

    @property
    def family(self) -> socket.AddressFamily | None:
        """Of the connection's socket; None: there is no connection."""
        if self._end is None or self._end.transport is None:
            return None
        family: socket.AddressFamily = self._end.transport.get_extra_info("socket").family
        return family

    @property
    def silent_s(self) -> float:
        """Seconds since which calls wait and nothing at all has come from the replica; 0.0: none waits."""
        since = None if self._end is None else self._end.waits_since
        return 0.0 if since is None else time.monotonic() - since

    async def call(self, method: int, payload: bytes) -> bytes:
        """Raises OSError (TimeoutError is one) when the replica cannot be reached or goes away, Unproven (one as well)
        when it does not know the secret, and Unavailable with the replica's own words when it refuses.
        """
        end = self._end
        if end is None or end.lost:
            end = await self._connect()
        return await end.begin(method, payload)

    def begin(self, method: int, payload: bytes) -> Call | None:
        """The call, which has left; None: there is no connection yet, and `call` has to make one."""
        end = self._end
        return None if end is None or end.lost else end.begin(method, payload)

    async def _connect(self) -> _ClientEnd:
        async with self._connecting:
            if self._end is not None and not self._end.lost:
                return self._end
            if time.monotonic() < self._refused_until:
                raise ConnectionRefusedError(f"{self.address} failed its proof a moment ago")
            try:
                async with asyncio.timeout(self._connect_s):
                    end = await self._dial_beside() or await self._dial_port()
            except Unproven:
                self._refused_until = time.monotonic() + _REFUSED_S
                raise
            self._end = end
            return end

    async def _dial_beside(self) -> _ClientEnd | None:
        """Over the Unix socket; None: there is none, or it is not the replica's."""
        if self._local is None:
            return None
        end = _ClientEnd(self._secret, local_address(self.address))
        try:
            return await _greeted(end, asyncio.get_running_loop().create_unix_connection(lambda: end, self._local))
        except OSError:
            return None

    async def _dial_port(self) -> _ClientEnd:
        end, loop = _ClientEnd(self._secret, self.address), asyncio.get_running_loop()
        return await _greeted(end, loop.create_connection(lambda: end, self._host, self._port, ssl=self._tls))

    def close(self) -> None:
        if self._end is not None:
            self._end.close()
