"""A World behind its HTTP API in a process of its own, which tests may kill: `python -m tests.support.served_world`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn

from deployments.api.app import make_api
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.serving.background import Background
from recsys.serving.slate_loops import keep_log
from recsys.state import slate_stream
from recsys.state.connection import connect
from tests.support.world import World


async def serve(root: Path, redis_url: str, port: int) -> None:
    """Until the process ends. Versions are under `root`; histories and changed items are in Redis, the log of answers
    is soon in files.
    """
    slate_stream.SLOT_MS = 500
    async with connect(redis_url, timeout_s=20) as redis, World(root=root, redis=redis, shards=1) as world:
        app = make_api(world.gateway, Gate(), Traces("r"))
        background = Background()
        keep_log(background, world.gateway, redis)
        await uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
        ).serve()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
