"""Deployments that do nothing, under the platform's own environment: what Serve, HAProxy, gRPC and FastAPI cost."""

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from load_tests.comparison.baselines.answer import Recommendation, Slate
from load_tests.comparison.workload import item_id, title

api = FastAPI()


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Noop:
    """The same call as the others have, its parameters checked, and an answer of the same size that is always there."""

    def __init__(self) -> None:
        self._items = [Recommendation(item_id=item_id(n), title=title(n), rank=n, score=0.5) for n in range(1, 11)]

    @api.get("/v1/users/{user_id}/recommendations")
    async def recommendations(
        self, user_id: Annotated[str, Path(min_length=1, max_length=128)], k: Annotated[int, Query(ge=1, le=100)] = 10
    ) -> Slate:
        return Slate(user_id=user_id, items=self._items[:k])


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
class Bare:
    """No FastAPI, no parameters, two bytes."""

    async def __call__(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
class Echo:
    def __call__(self, text: str) -> str:
        return text


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
class Caller:
    """The chain of the echo benchmark that Ray publishes for Serve: a deployment that asks another one."""

    def __init__(self, echo: DeploymentHandle[Any]) -> None:
        self._echo = echo

    async def __call__(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse(await self._echo.remote("ok"))


def build(_args: dict[str, Any]) -> Application:
    return Noop.bind()


def build_bare(_args: dict[str, Any]) -> Application:
    return Bare.bind()


def build_echo(_args: dict[str, Any]) -> Application:
    return Caller.bind(Echo.bind())
