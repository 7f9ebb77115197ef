"""What every request passes through: ids, the size limit, paths whose parts may hold anything."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Transport:
    """A plain ASGI layer: it adds about 20 microseconds, Starlette's BaseHTTPMiddleware ten times that.

    - The request's id is its X-Request-ID: Serve makes one where the caller gives none, and sends it back.
    - Routes see the path as it was sent, still percent-encoded: so an id may hold a slash. Path parameters are decoded
      by the routes.
    - A body over `limit()` bytes is refused while it is being read.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        scope["recsys.request_id"] = given.decode("latin-1") or uuid.uuid4().hex
        if raw := scope.get("raw_path"):
            scope["path"] = raw.partition(b"?")[0].decode("ascii", "replace")
        limit, read = self._limit(), 0

        async def receive_within() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                # An HTTPException, for FastAPI makes a 400 of anything else that goes wrong while it reads.
                raise HTTPException(413, f"body: over {limit} bytes; send it in parts, or raise limits.body_bytes")
            return message

        await self._app(scope, receive_within, send)
