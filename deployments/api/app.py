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
from deployments.api.front import Front
from deployments.api.hot_requests import HotRequests
from deployments.api.live import Frames
from deployments.api.short_items import ShortItems
from deployments.api.traces import Traces
from deployments.api.versions import Switch, not_here
from recsys.access.gate import Gate
from recsys.serving.gateway import Gateway

_ABOUT = "Real-time recommendations: an event changes the very next answer."


def make_api(gateway: Gateway, gate: Gate, traces: Traces, switch: Switch = not_here) -> Front:
    """`switch`: how versions are promoted and rolled back."""
    home = gateway.platform.home()
    frames = Frames(gateway, gate, home)
    parts = [
        *(part.router(gateway) for part in (reads, writes, users, operations, outcomes, item_outcomes)),
        several.router(gateway, gate),
        live.router(gateway, frames),
        admin.router(gate, home, frames.look_again),
        scenarios.router(gateway, gate),
        versions.router(gateway, gate, switch),
        described.router(gateway, gate),
        experiments.router(gateway, gate),
        docs_page.router(),
        console.router(),
    ]
    app = FastAPI(
        title="recsys",
        version="1",
        description=_ABOUT,
        docs_url=None,  # FastAPI's own pages load their scripts from another site
        redoc_url=None,
        redirect_slashes=False,  # /v1/items/ is an item without an id: nothing is there
        # The routes themselves: of a router that is included FastAPI makes each route once more, at the first request.
        routes=[route for part in parts for route in part.routes],
    )
    problems.install(app)
    access.document(app, gate)
    hot_requests = HotRequests(gateway, gate, traces)
    hot, record = reads.user_recommendations(gateway), writes.recording(gateway)
    items = ShortItems(writes.reading(gateway), writes.deleting(gateway), reads.similar_items(gateway))
    return Front(app, gate, lambda: gateway.settings, hot, record, items, hot_requests, traces)
