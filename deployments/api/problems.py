"""Errors as problem+json (RFC 9457): one shape, a stable code, the fix in the text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from deployments.api.routes import UnmarkedBody
from recsys.data.records import Refused
from recsys.data.wording import Invalid, printable
from recsys.errors import (
    BadInput,
    CallerGone,
    Conflict,
    Denied,
    Forbidden,
    NotFound,
    Overloaded,
    PageExpired,
    RecsysError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    VersionError,
    WrongHost,
)

_REFUSED_TOLD = 100
"""Refused elements of a bulk call that are told with their reason; of the others the index is."""

log = logging.getLogger(__name__)

_STATUS: list[tuple[type[RecsysError], HTTPStatus]] = [
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnmarkedBody, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (BadInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (WrongHost, HTTPStatus.MISDIRECTED_REQUEST),
    (PageExpired, HTTPStatus.GONE),
    (CallerGone, HTTPStatus.REQUEST_TIMEOUT),
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (Overloaded, HTTPStatus.TOO_MANY_REQUESTS),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (VersionError, HTTPStatus.SERVICE_UNAVAILABLE),
]
"""The first class that an error is one of gives its status."""


class AllRefused(BadInput):
    """Nothing of a bulk call was taken."""

    code = "all_refused"

    def __init__(self, what: str, refused: Sequence[Refused]) -> None:
        first = refused[0]
        super().__init__(
            f"{what}: none of the {len(refused)} is right; the first, {what}[{first.index}]: {first.message}",
            field=what,
        )
        self.refused = refused


def refused_out(refused: Sequence[Refused]) -> dict[str, Any]:
    """As a part of an answer, of a size that does not grow with what is wrong."""
    return {
        "refused": [asdict(one) for one in refused[:_REFUSED_TOLD]],
        "refused_count": len(refused),
        "refused_indexes": [one.index for one in refused],
    }


def problem(request: Request, status: HTTPStatus, code: str, detail: str, **more: object) -> Response:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": printable(detail),
    }
    body |= {key: value for key, value in more.items() if value is not None}
    body["request_id"] = request.scope.get("recsys.request_id", "")
    retry = {"Retry-After": "1"} if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) else {}
    return Response(orjson.dumps(body), status.value, headers=retry, media_type="application/problem+json")


def status_of(error: Exception) -> HTTPStatus:
    """What a call is answered with that ends in this error."""
    return next((s for kind, s in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def _on_recsys_error(request: Request, error: Exception) -> Response:
    status = status_of(error)
    code = error.code if isinstance(error, RecsysError) else "error"
    more: dict[str, object] = {"field": getattr(error, "field", None)}
    if isinstance(error, Invalid):
        more |= {"errors": [asdict(one) for one in error.faults], "error_count": error.count}
    elif isinstance(error, AllRefused):
        more |= refused_out(error.refused)
    answer = problem(request, status, code, str(error), **more)
    if isinstance(error, Denied):
        answer.headers["WWW-Authenticate"] = error.challenge
    elif isinstance(error, Unavailable):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _on_http(request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return problem(request, status, TooLarge.code, str(getattr(error, "detail", "")), field="body")
    if status == HTTPStatus.REQUEST_TIMEOUT:
        answer = problem(request, status, "body_timeout", str(getattr(error, "detail", "")), field="body")
        answer.headers["Connection"] = "close"  # the rest of the body may come, or not
        return answer
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI's for a body that the JSON parser gives up on
        detail = "body: cannot be read as JSON; is it UTF-8, and not nested too deeply?"
        return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "malformed_json", detail, field="body")
    detail = f"{request.method} {request.url.path}: {status.phrase}; the calls are listed at /docs"
    answer = problem(request, status, status.name.lower(), detail)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer


def _methods(request: Request) -> set[str]:
    """What may be done at this path: Starlette's own answer knows only the first of the path's routes."""
    scopes = [
        (method, dict(request.scope) | {"method": method}) for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
    ]
    return {method for method, scope in scopes for route in request.app.routes if route.matches(scope)[0] == Match.FULL}


def _on_surprise(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "this is a defect of the server; see its log")


def answer_to(request: Request, error: Exception) -> Response:
    """What the handlers below make of an error."""
    if isinstance(error, RecsysError):
        return _on_recsys_error(request, error)
    return _on_surprise(request, error)


def install(app: FastAPI) -> None:
    app.add_exception_handler(RecsysError, _on_recsys_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_surprise)
