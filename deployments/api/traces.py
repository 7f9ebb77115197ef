"""Requests with spans around them, for as long as the settings ask for that."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, TypeVar

from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.config.serving import Tracing
from recsys.errors import BadInput

if TYPE_CHECKING:
    from deployments.api.spans import Tracer

R = TypeVar("R")

_CARRIERS = (b"traceparent", b"tracestate")

log = logging.getLogger(__name__)


class Traces:
    """`tracer` None: nothing is traced."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._settings = Tracing()
        self.tracer: Tracer | None = None

    async def configure(self, settings: Tracing) -> None:
        """Takes effect with the next request."""
        if settings == self._settings:
            return
        self._settings = settings
        old, self.tracer = self.tracer, self._opened(settings)
        if old is not None:
            await asyncio.to_thread(old.stop)

    def _opened(self, settings: Tracing) -> Tracer | None:
        if settings.endpoint is None:
            return None
        tracing = importlib.import_module("deployments.api.spans")  # only where it is wanted, see there
        try:
            tracer: Tracer = tracing.Tracer.of(settings, self._replica)
        except BadInput as error:
            log.error("%s; requests are answered without traces", error)  # noqa: TRY400 - no defect of ours
            return None
        return tracer

    def around(self, answer: ASGIApp, routes: Sequence[BaseRoute]) -> ASGIApp:
        """The app with a span around each request that is traced. To be asked for while there is a tracer."""
        tracer = self.tracer
        assert tracer is not None

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIERS}
            with tracer.request(carried) as span:
                if span is None:
                    await answer(scope, receive, send)
                    return
                scope["recsys.trace"] = span.slate

                async def watched(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.answered(message["status"])
                    await send(message)

                await answer(scope, receive, watched)
                # Paths hold user ids: what is said is the route.
                span.request(scope["method"], _route(scope, routes), scope["recsys.request_id"])

        return traced

    async def call(self, name: str, call: Awaitable[R]) -> R:
        """The result of a call to another part, as a span of the request that makes it."""
        if self.tracer is None:
            return await call
        with self.tracer.call(name):
            return await call

    async def stop(self) -> None:
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.stop)


def _route(scope: Scope, routes: Sequence[BaseRoute]) -> str | None:
    """`/v1/items/{item_id}`; None: there is none. FastAPI leaves it in the scope of what it answered."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    return next((r.path for r in routes if isinstance(r, Route) and r.matches(scope)[0] == Match.FULL), None)
