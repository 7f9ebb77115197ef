"""The smallest application that uses a replica's HTTP port and its gRPC port; replicas import it by name."""

from __future__ import annotations

import socket
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Inner:
    async def __call__(self) -> dict[str, str]:
        return {"part": "inner"}


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Outer:
    def __init__(self, inner: DeploymentHandle) -> None:
        self._inner = inner

    async def __call__(self, _request: Request) -> dict[str, str]:
        return await self._inner.remote()


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Broken:
    def __init__(self) -> None:
        raise ValueError("the index is upside down")

    async def __call__(self, _request: Request) -> str:
        return "never"


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Exposed:
    """A listener that a later Ray might bring."""

    def __init__(self) -> None:
        self._server = socket.create_server(("0.0.0.0", 0))

    async def __call__(self, _request: Request) -> str:
        return "open"


def build(_args: dict[str, Any]) -> Application:
    return Outer.bind(Inner.bind())


def build_broken(_args: dict[str, Any]) -> Application:
    return Broken.bind()


def build_exposed(_args: dict[str, Any]) -> Application:
    return Exposed.bind()
