"""A direct line between a composer and a shard replica: framed messages over one TCP connection, many calls at a time.

A frame is its length, a call's number, a code, and a payload. The code is the method on the way there; on the way back
0 is a result and 1 an error's text. Nothing on the line is ever unpickled.

Both ends prove that they know the secret before anything else is read. The client sends a nonce; the server sends its
own nonce and its proof; the client checks that proof and sends its own. A proof is the HMAC-SHA256 of the role, both
nonces and the server's address. So a proof cannot be used again, returned to its maker, or relayed by a program that
listens at another address.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import struct
import time
from collections.abc import Awaitable, Callable
from typing import cast

from recsys.errors import Unavailable

_FRAME = struct.Struct("<IQB")
"""Bytes of the payload, number of the call, code."""
_NONCE = 32
_PROOF = 32
_GREETING_S = 5.0
"""Seconds within which a client must have proved itself; after that the server closes the connection."""
_REFUSED_S = 5.0
"""Seconds for which a server that failed its proof is not tried again."""
_LARGEST = 256 << 20
"""Bytes of a payload; a length beyond it is no frame of ours."""

Handler = Callable[[int, bytes], Awaitable[bytes]]
"""(method, payload) -> payload."""


class Unproven(ConnectionError):
    """The server at the address does not know the secret, or is not the one that has this address."""


class _Frames(asyncio.Protocol):
    """Cuts the stream into frames. The first `greeting` bytes go to `greeted`, which says how many more there are."""

    def __init__(self, greeting: int) -> None:
        self._buffer = bytearray()
        self._greeting = greeting
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # what TCP gives; uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._greeting:
            if len(self._buffer) < self._greeting:
                return
            greeting, self._buffer = bytes(self._buffer[: self._greeting]), self._buffer[self._greeting :]
            self._greeting = self.greeted(greeting)
            if self.transport is None or self.transport.is_closing():
                self._buffer.clear()
                return
        start = 0
        while len(self._buffer) - start >= _FRAME.size:
            size, number, code = _FRAME.unpack_from(self._buffer, start)
            if size > _LARGEST:
                self.close()
                return
            end = start + _FRAME.size + size
            if len(self._buffer) < end:
                break
            self.framed(number, code, bytes(self._buffer[start + _FRAME.size : end]))
            start = end
        if start:
            del self._buffer[:start]

    def send(self, number: int, code: int, payload: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines((_FRAME.pack(len(payload), number, code), payload))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def greeted(self, greeting: bytes) -> int:
        """Bytes of greeting that are still to come."""
        raise NotImplementedError

    def framed(self, number: int, code: int, payload: bytes) -> None: ...


class _ServerEnd(_Frames):
    def __init__(self, handler: Handler, secret: bytes, greeting_s: float) -> None:
        super().__init__(greeting=_NONCE)
        self._handler = handler
        self._secret = secret
        self._greeting_s = greeting_s
        self._expected: bytes | None = None
        """The client's proof; None: its nonce has not come yet."""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._late = asyncio.get_running_loop().call_later(self._greeting_s, self.close)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._late.cancel()

    def greeted(self, greeting: bytes) -> int:
        if self._expected is None:
            assert self.transport is not None
            nonce, address = os.urandom(_NONCE), _address(self.transport.get_extra_info("sockname"))
            self._expected = _proof(self._secret, b"client", greeting, nonce, address)
            self.write(nonce + _proof(self._secret, b"server", greeting, nonce, address))
            return _PROOF
        if hmac.compare_digest(greeting, self._expected):
            self._late.cancel()
        else:
            self.close()
        return 0

    def framed(self, number: int, code: int, payload: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        task = asyncio.get_running_loop().create_task(self._answer(number, code, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, code: int, payload: bytes) -> None:
        try:
            self.send(number, 0, await self._handler(code, payload))
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller waits for a word
            self.send(number, 1, f"{type(error).__name__}: {error}".encode())


class ChannelServer:
    """Answers calls on a port of the system's choice."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.address = _address(server.sockets[0].getsockname())

    @classmethod
    async def start(cls, host: str, handler: Handler, secret: bytes, greeting_s: float = _GREETING_S) -> ChannelServer:
        """`host`: an address of this machine. A name or a wildcard would not be what clients dial."""
        loop = asyncio.get_running_loop()
        return cls(await loop.create_server(lambda: _ServerEnd(handler, secret, greeting_s), host, 0))

    def stop(self) -> None:
        self._server.close()


class _ClientEnd(_Frames):
    def __init__(self, secret: bytes, address: str) -> None:
        super().__init__(greeting=_NONCE + _PROOF)
        self._secret = secret
        self._address = address
        self._nonce = os.urandom(_NONCE)
        self._numbers = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open: dict[int, asyncio.Future[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self._nonce)

    def greeted(self, greeting: bytes) -> int:
        nonce, proof = greeting[:_NONCE], greeting[_NONCE:]
        if not hmac.compare_digest(proof, _proof(self._secret, b"server", self._nonce, nonce, self._address)):
            if not self.ready.done():
                self.ready.set_exception(Unproven(f"{self._address} does not prove that it is a shard of ours"))
            self.close()
            return 0
        self.write(_proof(self._secret, b"client", self._nonce, nonce, self._address))
        if not self.ready.done():
            self.ready.set_result(None)
        return 0

    def framed(self, number: int, code: int, payload: bytes) -> None:
        waiting = self.open.pop(number, None)
        if waiting is None or waiting.done():
            return  # its caller has given up
        if code:
            waiting.set_exception(Unavailable(payload.decode(errors="replace")))
        else:
            waiting.set_result(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        lost = ConnectionResetError(f"the connection to the shard is lost: {exc or 'closed'}")
        for waiting in self.open.values():
            if not waiting.done():
                waiting.set_exception(lost)
        if not self.ready.done():
            self.ready.set_exception(lost)
        if self.ready.done() and not self.ready.cancelled():
            self.ready.exception()  # seen: nobody may be waiting for it
        self.open.clear()

    async def call(self, method: int, payload: bytes) -> bytes:
        if self.lost:  # between the greeting and this moment: nobody would say so any more
            raise ConnectionResetError("the connection to the shard is lost")
        self._numbers += 1
        number, waiting = self._numbers, asyncio.get_running_loop().create_future()
        self.open[number] = waiting
        self.send(number, method, payload)
        try:
            return bytes(await waiting)
        finally:
            self.open.pop(number, None)

    @property
    def lost(self) -> bool:
        return self.transport is None or self.transport.is_closing()


class Channel:
    """The client's end, connected when first used and again after a loss."""

    def __init__(self, address: str, secret: bytes, connect_s: float = 1.0) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self.address = address
        self._secret = secret
        self._connect_s = connect_s
        self._end: _ClientEnd | None = None
        self._connecting = asyncio.Lock()
        self._refused_until = 0.0

    @property
    def under_way(self) -> int:
        """Calls that wait for their answer."""
        return len(self._end.open) if self._end else 0

    async def call(self, method: int, payload: bytes) -> bytes:
        """Raises OSError (TimeoutError is one) when the replica cannot be reached or goes away, Unproven (one as well)
        when it does not know the secret, and Unavailable with the replica's own words when it refuses.
        """
        end = self._end
        if end is None or end.lost:
            end = await self._connect()
        return await end.call(method, payload)

    async def _connect(self) -> _ClientEnd:
        async with self._connecting:
            if self._end is not None and not self._end.lost:
                return self._end
            if time.monotonic() < self._refused_until:
                raise ConnectionRefusedError(f"{self.address} failed its proof a moment ago")
            end = _ClientEnd(self._secret, self.address)
            try:
                async with asyncio.timeout(self._connect_s):
                    await asyncio.get_running_loop().create_connection(lambda: end, self._host, self._port)
                    await end.ready
            except Unproven:
                self._refused_until = time.monotonic() + _REFUSED_S
                raise
            except BaseException:
                end.close()
                raise
            self._end = end
            return end

    def close(self) -> None:
        if self._end is not None:
            self._end.close()


def _address(name: tuple[str, int]) -> str:
    """`host:port` of a socket's own name."""
    return f"{name[0]}:{name[1]}"


def _proof(secret: bytes, role: bytes, client_nonce: bytes, server_nonce: bytes, address: str) -> bytes:
    return hmac.digest(secret, role + client_nonce + server_nonce + address.encode(), "sha256")
