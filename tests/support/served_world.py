"""A World behind its HTTP API in a process of its own, which tests may kill."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
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


def start(root: Path, redis_url: str, port: int) -> BaseProcess:
    return in_a_fork(_run, root, redis_url, port)


def in_a_fork(target: Callable[..., None], *given: object) -> BaseProcess:
    """Those of one test process are forks of another that has imported what a World needs: where several processes run
    the tests, see `early_forks.py`, else of one for which that takes two seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=target, args=given, daemon=True)
    process.start()
    return process


def _run(*given: object) -> None:
    asyncio.run(_serve(*given))


async def _serve(root: Path, redis_url: str, port: int) -> None:
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
