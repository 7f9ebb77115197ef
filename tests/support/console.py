"""The console before a real platform in this process, at loopback ports: open, and behind keys."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from redis.asyncio import Redis

from deployments.api.app import make_api
from deployments.api.traces import Traces
from deployments.api.versions import Switch
from recsys.access.api_keys import new_key
from recsys.access.gate import Gate
from recsys.config.security import Security
from recsys.outcomes.collecting import Collector
from recsys.serving.background import Background
from recsys.serving.slate_writer import WRITE_S
from recsys.serving.window_meter import WindowMeter, WindowWriter
from recsys.state.connection import connect
from recsys.telemetry import SILENT
from recsys.versions import promotion
from tests.support.world import World, eventually

WINDOW_S = 0.3
"""Seconds between two measurements, so that pages need not wait long."""


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """An ASGI application behind HTTP at loopback; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server.serve())
    assert await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


class ServeApi:
    """Serve's REST API over the replicas of a World: a config that is submitted becomes replicas of its shards."""

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self._world = world
        bounds = {"min_replicas": 1, "max_replicas": 1}
        deployments = [{"name": name, "autoscaling_config": dict(bounds)} for name in names]
        self._config: dict[str, Any] = {"applications": [{"name": "recsys", "deployments": deployments}]}
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = FastAPI()
        self.app.get("/api/serve/applications/")(self.details)
        self.app.put("/api/serve/applications/")(self.submit)

    async def details(self) -> dict[str, Any]:
        [application] = copy.deepcopy(self._config["applications"])
        deployments = {
            one["name"]: {
                "replicas": [{"state": "RUNNING"}] * self._running(one["name"]),
                "target_num_replicas": max(one["autoscaling_config"]["min_replicas"], 1),
                "deployment_config": {"autoscaling_config": one["autoscaling_config"]},
                "status": "HEALTHY",
            }
            for one in application["deployments"]
        }
        described = {"deployed_app_config": application, "deployments": deployments, "status": "RUNNING"}
        return {"applications": {"recsys": described}, "http_options": {"host": "127.0.0.1"}}

    async def submit(self, request: Request) -> dict[str, str]:
        self._config = await request.json()
        task = asyncio.create_task(self._follow())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {}

    def _running(self, name: str) -> int:
        return len(self._world.clients[int(name[-1])].replicas) if name.startswith("shard-") else 1

    async def _follow(self) -> None:
        for one in self._config["applications"][0]["deployments"]:
            if one["name"].startswith("shard-"):
                number, wanted = int(one["name"][-1]), one["autoscaling_config"]["min_replicas"]
                replicas = self._world.clients[number].replicas
                while len(replicas) < wanted:
                    await self._world.add_replica(number)
                while len(replicas) > wanted:
                    await replicas.pop().stop()


def switching(world: World) -> Switch:
    """Promotes in this process."""

    async def switch(version: str | None, allow_shrink: bool) -> str:
        if version is None:
            return (await promotion.rollback(world.store, world.platform, world.redis)).version
        served = await promotion.promote(world.store, version, world.platform, world.redis, allow_shrink=allow_shrink)
        return served.version

    return switch


class Console:
    """`open_url` needs no key, `keyed_url` one of `keys`, by the name of what it may do."""

    def __init__(self, world: World, open_url: str, keyed_url: str, keys: dict[str, str]) -> None:
        self.world = world
        self.open_url = open_url
        self.keyed_url = keyed_url
        self.keys = keys


@asynccontextmanager
async def running_console(root: Path, redis_url: str, environment: Any, **options: Any) -> AsyncIterator[Console]:
    """`environment`: a pytest.MonkeyPatch. `options`: of the World."""
    async with AsyncExitStack() as stack:
        redis: Redis = await stack.enter_async_context(connect(redis_url, timeout_s=20))
        meter = WindowMeter(SILENT)
        world = await stack.enter_async_context(World(root=root, redis=redis, telemetry=meter, **options))
        serve = ServeApi(world, ["Composer", "Encoder", *(f"shard-{n}" for n in range(world.platform.shards))])
        environment.setenv("RAY_DASHBOARD_ADDRESS", await stack.enter_async_context(served(serve.app)))
        environment.setenv("RAY_AUTH_TOKEN", "token")
        keyed, keys = await _keyed_gate(environment)
        background = Background()
        stack.push_async_callback(background.stop)
        background.start("windows", WindowWriter(redis, "Composer", "composer", meter).step, WINDOW_S)
        background.start("timeline", world.gateway.timeline.step, WINDOW_S)
        background.start("scenarios", world.gateway.scenarios.look, WINDOW_S)
        background.start("beat", world.gateway.beat, 1.0)
        collector = Collector(redis, world.gateway.log_files, lambda: 720, SILENT)
        background.start("log", world.gateway.answers.step, WRITE_S)
        background.start("files", collector.step, WINDOW_S)
        urls = [
            await stack.enter_async_context(served(make_api(world.gateway, gate, Traces("r"), switching(world))))
            for gate in (Gate(), keyed)
        ]
        yield Console(world, urls[0], urls[1], keys)


async def _keyed_gate(environment: Any) -> tuple[Gate, dict[str, str]]:
    keys, entries = {}, []
    for name, scopes in {"admin": ["read", "write", "admin"], "reader": ["read"]}.items():
        keys[name], digest = new_key()
        entries.append({"name": name, "sha256": digest, "scopes": scopes})
    environment.setenv("RECSYS_API_KEYS", json.dumps({"keys": entries}))
    gate = Gate()
    await gate.configure(Security())
    environment.delenv("RECSYS_API_KEYS")
    return gate, keys
