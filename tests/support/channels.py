"""Two sides of a direct line that are made by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

SECRET = b"s" * 32


async def handler(method: int, payload: bytes) -> bytes:
    if method == 9:
        raise ValueError("no such thing")
    await asyncio.sleep(payload[0] / 1000)  # later calls may overtake
    return bytes([method]) + payload


async def impostor(greet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> tuple[Any, str]:
    """A server with a greeting of its own, and its address."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await greet(reader, writer)
        writer.close()

    fake = await asyncio.start_server(met, "127.0.0.1", 0)
    host, port = fake.sockets[0].getsockname()
    return fake, f"{host}:{port}"
