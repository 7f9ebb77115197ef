"""What every request passes through: ids, the size limit, paths whose parts may hold anything."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Transport:
    """A plain ASGI layer: it adds about 20 microseconds, Starlette's BaseHTTPMiddleware ten times that.

    - X-Request-ID is echoed, or made; other than 1 to 128 of A-Z a-z 0-9 . _ : - it is replaced.
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
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        scope["recsys.request_id"] = request_id.decode()
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

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        await self._app(scope, receive_within, send_named)
