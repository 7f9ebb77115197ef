"""The replica's end of the direct line: it answers the calls of composers that know the secret."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
from collections.abc import Awaitable, Callable
from functools import partial

from recsys.transport.encryption import leaves_the_machine, server_tls
from recsys.transport.frames import ERROR, RESULT, Frames
from recsys.transport.handshake import NONCE, PROOF, address_of, proof
from recsys.transport.local_socket import local_address, local_name

_GREETING_S = 5.0
"""Seconds within which a client must have proved itself; after that the server closes the connection."""

Handler = Callable[[int, bytes], bytes | Awaitable[bytes]]
"""(method, payload) -> payload. A task for each call takes longer than some calls: what does not wait returns bytes."""


class _ServerEnd(Frames):
    def __init__(
        self, handler: Handler, secret: bytes, greeting_s: float, fingerprint: bytes, address: str | None = None
    ) -> None:
        """`address`: what proofs cover; None: that of the socket."""
        super().__init__(greeting=NONCE)
        self._handler = handler
        self._secret = secret
        self._fingerprint = fingerprint
        self._address = address
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
            nonce = os.urandom(NONCE)
            address = self._address or address_of(self.transport.get_extra_info("sockname"))
            self._expected = proof(self._secret, b"client", greeting, nonce, address, self._fingerprint)
            self.write(nonce + proof(self._secret, b"server", greeting, nonce, address, self._fingerprint))
            return PROOF
        if hmac.compare_digest(greeting, self._expected):
            self._late.cancel()
        else:
            self.close()
        return 0

    def framed(self, number: int, code: int, payload: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        try:
            answer = self._handler(code, payload)
        except Exception as error:  # noqa: BLE001 - see `_answer`
            self._refuse(number, error)
            return
        if isinstance(answer, bytes):
            self.send(number, RESULT, answer)
            return
        task = asyncio.get_running_loop().create_task(self._answer(number, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, answer: Awaitable[bytes]) -> None:
        try:
            self.send(number, RESULT, await answer)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller waits for a word
            self._refuse(number, error)

    def _refuse(self, number: int, error: Exception) -> None:
        self.send(number, ERROR, f"{type(error).__name__}: {error}".encode())


class ChannelServer:
    """Answers calls on a port of the system's choice, over TLS where the address may be reached from a network, and on
    the Unix socket beside it where it may not.
    """

    def __init__(self, server: asyncio.Server, address: str, beside: asyncio.Server | None) -> None:
        """`beside`: the Unix socket."""
        self._server, self.beside = server, beside
        self.address = address

    @classmethod
    async def start(cls, host: str, handler: Handler, secret: bytes, greeting_s: float = _GREETING_S) -> ChannelServer:
        """`host`: an address of this machine. A name or a wildcard would not be what clients dial."""
        loop = asyncio.get_running_loop()
        tls = await asyncio.to_thread(server_tls) if leaves_the_machine(host) else None
        fingerprint, context = (b"", None) if tls is None else (tls.fingerprint, tls.context)
        server = await loop.create_server(
            lambda: _ServerEnd(handler, secret, greeting_s, fingerprint),
            host,
            0,
            ssl=context,
            ssl_handshake_timeout=None if tls is None else greeting_s,
        )
        address, beside = address_of(server.sockets[0].getsockname()), None
        if (name := local_name(address)) is not None:
            end = partial(_ServerEnd, handler, secret, greeting_s, b"", local_address(address))
            with contextlib.suppress(OSError):  # somebody has the name: composers go to the port
                beside = await loop.create_unix_server(end, name)
        return cls(server, address, beside)

    def stop(self) -> None:
        self._server.close()
        if self.beside is not None:
            self.beside.close()
