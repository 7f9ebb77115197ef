"""A server that takes connections, and neither reads nor answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Its host and port."""
    over = asyncio.Event()

    async def taken(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a transport of a socket
        await over.wait()
        writer.close()

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    over.set()
    server.close()
