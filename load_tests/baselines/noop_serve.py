"""Ingresses that do nothing, under the platform's own environment: what Serve, HAProxy and FastAPI alone cost."""

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import PlainTextResponse

api = FastAPI()


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
class Noop:
    async def __call__(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class NoopFastAPI:
    @api.get("/v1/users/{user_id}/recommendations")
    async def recommendations(
        self, user_id: Annotated[str, Path(min_length=1, max_length=128)], k: Annotated[int, Query(ge=1, le=100)] = 10
    ) -> PlainTextResponse:
        return PlainTextResponse(f"{k} for {user_id}")


def build(_args: dict[str, Any]) -> Application:
    return Noop.bind()


def build_fastapi(_args: dict[str, Any]) -> Application:
    return NoopFastAPI.bind()
