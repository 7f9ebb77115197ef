"""The short way of a call of a few events, the second hottest: FastAPI's layers took two thirds of what HTTP costs it.

Only what is right goes this way. FastAPI reads all else once more, and says in its words what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from deployments.api.long_bodies import LONG
from deployments.api.routes import BoundedRequest
from deployments.api.schemas import EventsBody

PATH = "/v1/events"

Record = Callable[[EventsBody], Awaitable[Response]]


def is_short(scope: Scope, path: str) -> bool:
    """Whether a request may go this way."""
    return scope["method"] == "POST" and path == PATH and not scope["query_string"] and _is_json(scope)


def _is_json(scope: Scope) -> bool:
    given = [value for name, value in scope["headers"] if name == b"content-type"]
    return given == [b"application/json"]


async def recorded(record: Record, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
    """The answer, or none where FastAPI is to judge the request, which then reads its body from what is returned.

    Raises what `record` does.
    """
    request = BoundedRequest(scope, receive)
    try:
        raw = await request.body()
    except (ClientDisconnect, HTTPException) as error:
        return None, _failing(error)
    body = None if len(raw) >= LONG else await _body(request)
    return None if body is None else await record(body), _again(raw, receive)


async def _body(request: BoundedRequest) -> EventsBody | None:
    try:
        return EventsBody.model_validate(await request.json())
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        return None


def _failing(error: Exception) -> Receive:
    async def received() -> Message:
        raise error

    return received


def _again(raw: bytes, receive: Receive) -> Receive:
    whole: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def received() -> Message:
        return whole.pop() if whole else await receive()

    return received
