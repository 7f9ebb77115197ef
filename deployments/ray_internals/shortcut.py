"""The way of short calls past what Serve does around a request, by the hook that Serve has for middleware.

Serve gives every request a context, counters and time measurements of its own, and looks through its headers for what
we do not use: a third of the composer's time. The hottest call goes without, and so do events and what is asked about
one item: Serve's own numbers of HTTP requests leave them out. A composer that stops is drained for a fixed time,
whatever Serve counts.
"""

from __future__ import annotations

import re

from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.api.front import Front

_SHORT = {
    "GET": re.compile(rb"/v1/(users/[^/?]+/recommendations|items/[^/?]+(/similar)?)(\?.*)?"),
    "POST": re.compile(rb"/v1/events(\?.*)?"),
    "DELETE": re.compile(rb"/v1/items/[^/?]+(\?.*)?"),
}
"""Paths by method."""


class Shortcut:
    """`app` is Serve's wrapper of the Front. Both run in one event loop, by RAY_SERVE_THROUGHPUT_OPTIMIZED."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._front: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        short = _SHORT.get(scope["method"]) if scope["type"] == "http" else None
        if short is None or short.fullmatch(scope["raw_path"]) is None:
            await self._app(scope, receive, send)
            return
        app = self._past_serve()
        if app is not self._app:
            scope["recsys.past_serve"] = True
        await app(scope, receive, send)

    def _past_serve(self) -> ASGIApp:
        """The Front, once Serve says what this replica runs: a moment after it has begun to listen."""
        if self._front is not None:
            return self._front
        servable: object = serve.get_replica_context().servable_object
        if servable is None:
            return self._app
        front = getattr(servable, "app", None)
        self._front = front if isinstance(front, Front) else self._app  # another application's
        return self._front


def middlewares() -> list[Middleware]:
    """Serve calls this in every process that serves HTTP."""
    try:
        serve.get_replica_context()
    except RayServeException:  # Serve's own proxy: there is no application in it
        return []
    return [Middleware(Shortcut)]
