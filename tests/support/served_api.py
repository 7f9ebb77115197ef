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


class Held:
    """Calls of one kind to the first shard wait until they are let go. `call`: the name of the client's method."""

    def __init__(self, world: World, call: str) -> None:
        self._plain = getattr(world.clients[0], call)
        self._go = asyncio.Event()
        self.waiting = 0
        setattr(world.clients[0], call, self._ask)

    async def _ask(self, *asked: Any) -> Any:
        self.waiting += 1
        await self._go.wait()
        return await self._plain(*asked)

    def let_go(self) -> None:
        self._go.set()


class HeldSearches(Held):
    def __init__(self, world: World) -> None:
        super().__init__(world, "search")
