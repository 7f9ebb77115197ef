"""An answer leaves in one piece.

uvicorn writes the head of a response and its body one after the other. That is two system calls here and two packets
for the proxy in front, which costs more than all else that sending takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_WITHOUT_BODY = frozenset({*range(100, 200), 204, 304})
_NO_VALUE = re.compile(b"[\x00-\x08\x0a-\x1f\x7f]")
"""Bytes that no header's value may have."""


def status_line(status: int) -> bytes:
    return _STATUS[status]


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as they are sent. Raises ValueError for a value that no header may have."""
    lines = [b"%b: %b" % header for header in headers]
    if _NO_VALUE.search(b"".join(lines)) is not None:
        raise ValueError("a header has a value that no header may have")
    return b"".join([line + b"\r\n" for line in lines])


def server_of(send: Send) -> object:
    """The protocol that a connection has; None where that is not to be told."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    return None if transport is None else transport.get_protocol()


async def send_whole(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response whose body is there already. Of another server than uvicorn, or where a layer wraps `send`, it
    goes out as the server sends it; and so it does to a caller who reads more slowly than we write.
    """
    exchange: Any = getattr(send, "__self__", None)
    transport, flow = getattr(exchange, "transport", None), getattr(exchange, "flow", None)
    if transport is None or getattr(flow, "write_paused", True):
        await response(scope, receive, send)
        return
    if _writable(exchange, response, scope):
        _write(exchange, response)
        return
    exchange.transport = parts = _Parts(transport)
    try:
        await response(scope, receive, send)
    finally:
        exchange.transport = transport
        parts.flush()


def _writable(exchange: Any, response: Response, scope: Scope) -> bool:
    """Whether this is an exchange of uvicorn's httptools protocol, none of whose special cases concern the response."""
    return (
        getattr(exchange, "chunked_encoding", exchange) is None
        and not (exchange.response_started or exchange.disconnected or exchange.access_log)
        and response.background is None
        and response.status_code not in _WITHOUT_BODY
        and scope["method"] != "HEAD"
        and _NO_VALUE.search(b"".join([value for _, value in response.raw_headers])) is None
    )


def _write(exchange: Any, response: Response) -> None:
    """What the exchange does with a response, without a look at each of our headers: names in lower case, the length of
    the body among them, and none that concerns the connection.
    """
    parts: list[bytes | memoryview[int]] = [_STATUS[response.status_code]]
    for name, value in (*exchange.default_headers, *response.raw_headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n", response.body)
    exchange.response_started = exchange.response_complete = True
    exchange.waiting_for_100_continue = False
    exchange.transport.write(b"".join(parts))
    exchange.message_event.set()
    if not exchange.keep_alive:
        exchange.transport.close()
    exchange.on_response()


class _Parts:
    """What is written to a transport, until it is flushed or closed."""

    __slots__ = ("_parts", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return bool(self._transport.is_closing())
