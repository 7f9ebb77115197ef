"""The HTTP API of one gateway."""

from __future__ import annotations

from fastapi import FastAPI

from deployments.api import (
    access,
    admin,
    console,
    described,
    docs_page,
    experiments,
    item_outcomes,
    live,
    operations,
    outcomes,
    problems,
    reads,
    scenarios,
    several,
    users,
    versions,
    writes,
)
from deployments.api.answer_schemas import Problem
from deployments.api.front import Front
from deployments.api.hot_requests import HotRequests
from deployments.api.live import Frames
from deployments.api.traces import Traces
from deployments.api.versions import Switch, not_here
from recsys.access.gate import Gate
from recsys.serving.gateway import Gateway

_ABOUT = "Real-time recommendations: an event changes the very next answer."
_PROBLEMS = {
    401: "The call needs an API key, and none that is valid was sent",
    403: "The key does not have the scope that the call needs",
    404: "What was asked for does not exist",
    408: "The body has not come in time",
    409: "A later write of the item, or a higher version, is known; nothing was changed",
    410: "The token of a page has expired: begin with `first`",
    413: "The body, or a list in it, is over its limit",
    415: "The body is not marked as JSON",
    421: "No key is asked for, and the Host header does not name this machine",
    422: "A field is wrong; `detail` names it, its limit and the fix",
    429: "More requests are waiting than can be answered in time, or the key is over its rate",
    503: "A part does not answer; nothing was changed, or `detail` says so",
}


def make_api(gateway: Gateway, gate: Gate, traces: Traces, switch: Switch = not_here) -> Front:
    """`switch`: how versions are promoted and rolled back."""
    documented = {
        status: {"model": Problem, "description": text, "content": {"application/problem+json": {}}}
        for status, text in _PROBLEMS.items()
    }
    app = FastAPI(
        title="recsys",
        version="1",
        description=_ABOUT,
        responses=documented,  # type: ignore[arg-type]
        docs_url=None,  # FastAPI's own pages load their scripts from another site
        redoc_url=None,
        redirect_slashes=False,  # /v1/items/ is an item without an id: nothing is there
    )
    for part in (reads, writes, users, operations, outcomes, item_outcomes):
        app.include_router(part.router(gateway))
    app.include_router(several.router(gateway, gate))
    frames = Frames(gateway, gate, gateway.platform.home())
    app.include_router(live.router(gateway, frames))
    app.include_router(admin.router(gate, gateway.platform.home(), frames.look_again))
    app.include_router(scenarios.router(gateway, gate))
    app.include_router(versions.router(gateway, gate, switch))
    app.include_router(described.router(gateway, gate))
    app.include_router(experiments.router(gateway, gate))
    app.include_router(docs_page.router())
    app.include_router(console.router())
    problems.install(app)
    access.document(app, gate)
    hot_requests = HotRequests(gateway, gate, traces)
    return Front(app, gate, lambda: gateway.settings, reads.user_recommendations(gateway), hot_requests, traces)
