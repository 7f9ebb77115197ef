"""The HTTP API of a platform in this process behind a real uvicorn, and a shard that keeps it waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from tests.support.world import World, eventually


@contextlib.asynccontextmanager
async def serve(front: Any, **options: Any) -> AsyncIterator[uvicorn.Server]:
    """A server of `front` at a free port; at the end its connections are cut. `options`: of `uvicorn.Config`."""
    config = uvicorn.Config(front, port=0, ws="none", lifespan="off", **options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    assert await eventually(lambda: server.started)
    yield server
    server.should_exit = server.force_exit = True
    await task


def port_of(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


class HeldSearches:
    """Searches of the first shard wait until they are let go."""

    def __init__(self, world: World) -> None:
        self._plain = world.clients[0].search
        self._go = asyncio.Event()
        self.waiting = 0
        world.clients[0].search = self._search

    async def _search(self, query: Any) -> Any:
        self.waiting += 1
        await self._go.wait()
        return await self._plain(query)

    def let_go(self) -> None:
        self._go.set()
