"""The outermost layer: what every request passes through, and a short way for the hottest call.

It is plain ASGI, outside of FastAPI: FastAPI's own layers and routing took two thirds of the HTTP layer's time.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.access import presented_key, scope_of
from deployments.api.problems import answer_to
from deployments.api.traces import Traces
from recsys.access import Gate
from recsys.config import Serving

Endpoint = Callable[[Request], Awaitable[Response]]

_HOT_PATH = "/v1/users/{user_id}/recommendations"
_HOT = re.compile(r"/v1/users/([^/]+)/recommendations")


_SAFETY = (
    (b"cache-control", b"no-store"),  # what one user is told is for nobody's cache
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class _HotRoute(Route):
    """Says whether a request is the hot one without taking its path apart."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope.get("method") == "GET" and _HOT.fullmatch(scope["path"].removeprefix(scope.get("root_path", ""))):
            return Match.FULL, {}
        return Match.NONE, {}


class Front:
    """
    - The request's id is its X-Request-ID: Serve makes one where the caller gives none, and sends it back.
    - A caller without a key that opens the call is turned away before a byte of its body is read.
    - Routes see the path as it was sent, still percent-encoded: so an id may hold a slash. Path parameters are decoded
      by the routes.
    - A body over `limits.body_bytes` is refused while it is being read.
    - GET /v1/users/{user_id}/recommendations goes straight to its endpoint, which FastAPI documents like any other.
    """

    def __init__(
        self, app: FastAPI, gate: Gate, settings: Callable[[], Serving], hot: Endpoint, traces: Traces
    ) -> None:
        self._app = app
        self._traces = traces
        self._gate = gate
        self._settings = settings
        self._hot = hot
        self.router = app.router
        # Serve looks a request's route up here, for its metrics: the hot one is to be found first.
        self.routes: list[BaseRoute] = [_HotRoute(_HOT_PATH, hot, methods=["GET"]), *app.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse_upgrade(scope, send)
            return
        request_id = authorization = x_api_key = origin = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                x_api_key = value
            elif name == b"origin":
                origin = value
        scope["recsys.request_id"] = request_id.decode("latin-1") or uuid.uuid4().hex
        scope["recsys.presented"] = presented_key(authorization, x_api_key)
        if raw := scope.get("raw_path"):
            scope["path"] = raw.partition(b"?")[0].decode("ascii", "replace")
        answer: ASGIApp = (
            self._answer if self._traces.tracer is None else self._traces.around(self._answer, self.routes)
        )
        if origin and (origins := self._settings().security.cors_origins):
            await _for_browsers(answer, origins)(scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        request = Request(scope, receive)
        try:
            needed = scope_of(method, path)
            if needed is not None:
                scope["recsys.key"] = self._gate.admit(scope["recsys.presented"], needed)
            hot = _HOT.fullmatch(path) if method == "GET" else None
            if hot is None:
                scope["recsys.limits"] = self._settings().limits
                await self._app(scope, self._within_limit(receive), _with_safety(send))
                return
            scope["path_params"] = {"user_id": hot[1]}
            response = await self._hot(request)
        except Exception as error:  # noqa: BLE001 - what FastAPI's handlers do for the other routes
            response = answer_to(request, error)
        response.raw_headers.extend(_SAFETY)
        if "recsys.past_serve" in scope:  # which sends the id otherwise
            response.raw_headers.append((b"x-request-id", scope["recsys.request_id"].encode("latin-1")))
        await response(scope, receive, send)

    def _within_limit(self, receive: Receive) -> Receive:
        limit, read = self._settings().limits.body_bytes, 0

        async def receive_within() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                # An HTTPException, for FastAPI makes a 400 of anything else that goes wrong while it reads.
                raise HTTPException(413, f"body: over {limit} bytes; send it in parts, or raise limits.body_bytes")
            return message

        return receive_within


def _with_safety(send: Send) -> Send:
    async def send_with_safety(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_SAFETY]
        await send(message)

    return send_with_safety


def _for_browsers(answer: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """What adds the CORS headers for these origins, and answers preflights, which carry no key."""
    return CORSMiddleware(
        answer,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "X-API-Key", "X-Request-ID"),
        expose_headers=("Retry-After", "Server-Timing", "X-Request-ID"),
        allow_credentials=False,
    )


async def _refuse_upgrade(scope: Scope, send: Send) -> None:
    """There are no WebSockets here, so that none can go past the gate."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
