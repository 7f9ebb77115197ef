"""The outermost layer: what every request passes through, and a short way for the hottest call.

It is plain ASGI, outside of FastAPI: FastAPI's own layers and routing took two thirds of the HTTP layer's time.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.access import check_host, is_local, presented_key, scope_of
from deployments.api.callers import HttpCaller
from deployments.api.hot_line import put_before
from deployments.api.hot_requests import HotRequests
from deployments.api.one_write import send_whole, server_of
from deployments.api.problems import answer_to
from deployments.api.safety import SAFETY
from deployments.api.short_events import Record, is_short, recorded
from deployments.api.short_items import ShortItems
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.config.serving import Serving

Endpoint = Callable[[Request], Awaitable[Response]]

_HOT_PATH = "/v1/users/{user_id}/recommendations"
_HOT = re.compile(r"/v1/users/([^/]+)/recommendations")
_READ = frozenset({b"x-request-id", b"authorization", b"x-api-key", b"host", b"x-request-start", b"origin"})
"""Headers that are looked at here."""


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
    - Where no key is asked for, a request must name this machine as its host.
    - A body over `limits.body_bytes` is refused while it is being read, and one that takes longer than `limits.body_s`.
    - POST /v1/events of a few events that are right goes straight to its endpoint, and so do right calls of one item.
    - GET /v1/users/{user_id}/recommendations goes straight to its endpoint, which FastAPI documents like any other. A
      connection over which one has come is a hot line from then on.
    """

    def __init__(
        self,
        app: FastAPI,
        gate: Gate,
        settings: Callable[[], Serving],
        hot: Endpoint,
        record: Record,
        items: ShortItems,
        hot_requests: HotRequests,
        traces: Traces,
    ) -> None:
        self._app = app
        self._traces = traces
        self._gate = gate
        self._settings = settings
        self._hot = hot
        self._record = record
        self._items = items
        self.hot_requests = hot_requests
        self.router = app.router
        # Serve looks a request's route up here, for its metrics: the hot one is to be found first.
        self.routes: list[BaseRoute] = [_HotRoute(_HOT_PATH, hot, methods=["GET"]), *app.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse_upgrade(scope, send)
            return
        sent = {name: value for name, value in scope["headers"] if name in _READ}
        scope["recsys.request_id"] = sent.get(b"x-request-id", b"").decode("latin-1") or uuid.uuid4().hex
        scope["recsys.presented"] = presented_key(sent.get(b"authorization", b""), sent.get(b"x-api-key", b""))
        scope["recsys.host"] = sent.get(b"host", b"")
        scope["recsys.caller"] = HttpCaller(receive, sent.get(b"x-request-start", b""))
        if raw := scope.get("raw_path"):
            scope["path"] = raw.partition(b"?")[0].decode("ascii", "replace")
        answer: ASGIApp = (
            self._answer if self._traces.tracer is None else self._traces.around(self._answer, self.routes)
        )
        if b"origin" in sent and (origins := self._settings().security.cors_origins):
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
                if self._gate.open and not is_local(scope["recsys.host"]):
                    check_host(scope["recsys.host"], self._settings().security)
            hot = _HOT.fullmatch(path) if method == "GET" else None
            if hot is None:
                scope["recsys.limits"] = self._settings().limits
                receive, answer = self._within_limit(receive, scope["recsys.caller"]), None
                if is_short(scope, path):
                    answer, receive = await recorded(self._record, scope, receive)
                elif (asked := self._items.asked(request, path)) is not None:
                    answer = await asked
                if answer is None:
                    await self._app(scope, receive, _with(_headers(scope), send))
                    return
                response = answer
            else:
                scope["path_params"] = {"user_id": hot[1]}
                response = await self._hot(request)
        except Exception as error:  # noqa: BLE001 - what FastAPI's handlers do for the other routes
            response = answer_to(request, error)
        response.raw_headers.extend(_headers(scope))
        await send_whole(response, scope, receive, send)
        put_before(server_of(send), self.hot_requests.take, tells_id=_tells_id(scope))

    def _within_limit(self, receive: Receive, caller: HttpCaller) -> Receive:
        limits, read, parts = self._settings().limits, 0, 0
        deadline = asyncio.get_running_loop().time() + limits.body_s
        whole = False

        async def receive_within() -> Message:
            nonlocal read, parts, whole
            if whole:  # what comes now is that the caller leaves, whenever he does
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                what = f"body: has not come within {limits.body_s:g} s; send it faster, or raise limits.body_s"
                raise HTTPException(408, what) from None
            whole, parts = not message.get("more_body", False), parts + 1
            if whole and parts > 1:
                caller.since = time.monotonic()  # how fast a body comes is not ours to answer for
            read += len(message.get("body", b""))
            if read > limits.body_bytes:
                # An HTTPException, for FastAPI makes a 400 of anything else that goes wrong while it reads.
                what = f"body: over {limits.body_bytes} bytes; send it in parts, or raise limits.body_bytes"
                raise HTTPException(413, what)
            return message

        return receive_within


def _tells_id(scope: Scope) -> bool:
    """Whether the answer is to name the request's id: Serve does, of what goes through it."""
    return "recsys.past_serve" in scope


def _headers(scope: Scope) -> Sequence[tuple[bytes, bytes]]:
    """What every answer has."""
    if not _tells_id(scope):
        return SAFETY
    return (*SAFETY, (b"x-request-id", scope["recsys.request_id"].encode("latin-1")))


def _with(headers: Sequence[tuple[bytes, bytes]], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers


def _for_browsers(answer: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """What adds the CORS headers for these origins, and answers preflights, which carry no key."""
    return CORSMiddleware(
        answer,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "X-API-Key", "X-Request-ID"),
        expose_headers=("Retry-After", "Server-Timing", "X-Request-ID"),
        allow_credentials=False,
    )


async def _refuse_upgrade(scope: Scope, send: Send) -> None:
    """There are no WebSockets here, so that none can go past the gate."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
