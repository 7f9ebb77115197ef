"""An answer leaves in one piece.

uvicorn writes the head of a response and its body one after the other. That is two system calls here and two packets
for the proxy in front, which costs more than all else that sending takes.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


async def send_whole(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response whose body is there already. Of another server than uvicorn, or where a layer wraps `send`, it
    goes out as the server sends it; and so it does to a caller who reads more slowly than we write.
    """
    exchange: Any = getattr(send, "__self__", None)
    transport, flow = getattr(exchange, "transport", None), getattr(exchange, "flow", None)
    if transport is None or getattr(flow, "write_paused", True):
        await response(scope, receive, send)
        return
    exchange.transport = parts = _Parts(transport)
    try:
        await response(scope, receive, send)
    finally:
        exchange.transport = transport
        parts.flush()


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
