"""The outermost layer: what every request passes through, and a short way for the hottest call.

It is plain ASGI, outside of FastAPI: FastAPI's own layers and routing took two thirds of the HTTP layer's time.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from deployments.api.problems import answer_to

Endpoint = Callable[[Request], Awaitable[Response]]

_HOT_PATH = "/v1/users/{user_id}/recommendations"
_HOT = re.compile(r"/v1/users/([^/]+)/recommendations")


class Front:
    """
    - The request's id is its X-Request-ID: Serve makes one where the caller gives none, and sends it back.
    - Routes see the path as it was sent, still percent-encoded: so an id may hold a slash. Path parameters are decoded
      by the routes.
    - A body over `limit()` bytes is refused while it is being read.
    - GET /v1/users/{user_id}/recommendations goes straight to its endpoint, which FastAPI documents like any other.
    """

    def __init__(self, app: FastAPI, limit: Callable[[], int], hot: Endpoint) -> None:
        self._app = app
        self._limit = limit
        self._hot = hot
        self.router = app.router
        # Serve looks a request's route up here, for its metrics: the hot one is to be found first.
        self.routes: list[BaseRoute] = [Route(_HOT_PATH, hot, methods=["GET"]), *app.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        scope["recsys.request_id"] = given.decode("latin-1") or uuid.uuid4().hex
        if raw := scope.get("raw_path"):
            scope["path"] = raw.partition(b"?")[0].decode("ascii", "replace")
        hot = _HOT.fullmatch(scope["path"]) if scope["method"] == "GET" else None
        if hot is None:
            await self._app(scope, self._within_limit(receive), send)
            return
        scope["path_params"] = {"user_id": hot[1]}
        request = Request(scope, receive)
        try:
            response = await self._hot(request)
        except Exception as error:  # noqa: BLE001 - what FastAPI's handlers do for the other routes
            response = answer_to(request, error)
        await response(scope, receive, send)

    def _within_limit(self, receive: Receive) -> Receive:
        limit, read = self._limit(), 0

        async def receive_within() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                # An HTTPException, for FastAPI makes a 400 of anything else that goes wrong while it reads.
                raise HTTPException(413, f"body: over {limit} bytes; send it in parts, or raise limits.body_bytes")
            return message

        return receive_within
