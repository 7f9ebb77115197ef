"""Viewers of the console's Operations page: each follows the platform's stream, and asks again when it ends.

    python -m load_tests.comparison.viewers URL VIEWERS

It says a line when all have a stream, and runs until it is ended. The page itself makes no other call while it is open.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from urllib.parse import urlsplit

_AGAIN_S = 1.0
_CHUNK = 1 << 16


async def watch(url: str, viewers: int) -> None:
    everyone = asyncio.Barrier(viewers + 1)
    async with asyncio.TaskGroup() as following:
        for _ in range(viewers):
            following.create_task(_follow(url, everyone))
        await everyone.wait()
        print("watching", flush=True)


async def _follow(url: str, everyone: asyncio.Barrier) -> None:
    """Read streams one after another. Bytes are thrown away: the viewer's browser is on another machine."""
    first = True
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    request = f"GET /v1/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                writer.write(request)
                if b" 200 " not in await reader.readline():
                    raise SystemExit(f"{url}/v1/live is no stream")
                if first:
                    await everyone.wait()
                    first = False
                while await reader.read(_CHUNK):
                    pass
        except OSError:
            await asyncio.sleep(_AGAIN_S)


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], int(sys.argv[2])))
