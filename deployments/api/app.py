"""The HTTP API of one gateway."""

from __future__ import annotations

from fastapi import FastAPI

from deployments.api import admin, operations, problems, reads, writes
from deployments.api.front import Front
from deployments.api.schemas import Problem
from recsys.gateway import Gateway

_ABOUT = "Real-time recommendations: an event changes the very next answer."
_PROBLEMS = {
    404: "What was asked for does not exist",
    413: "The body, or a list in it, is over its limit",
    415: "The body is not marked as JSON",
    422: "A field is wrong; `detail` names it, its limit and the fix",
    429: "More requests are waiting than can be answered in time",
    503: "A part does not answer; nothing was changed, or `detail` says so",
}


def make_api(gateway: Gateway) -> Front:
    documented = {
        status: {"model": Problem, "description": text, "content": {"application/problem+json": {}}}
        for status, text in _PROBLEMS.items()
    }
    app = FastAPI(
        title="recsys",
        version="1",
        description=_ABOUT,
        responses=documented,  # type: ignore[arg-type]
        redirect_slashes=False,  # /v1/items/ is an item without an id: nothing is there
    )
    for part in (reads, writes, operations):
        app.include_router(part.router(gateway))
    app.include_router(admin.router())
    problems.install(app)
    return Front(app, lambda: gateway.settings.limits.body_bytes, reads.user_recommendations(gateway))
