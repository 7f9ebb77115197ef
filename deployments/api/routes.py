"""What every route holds before its own code runs: the names in the query string, the size of the body, one wording."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from deployments.api.long_bodies import LONG, parsed_in_parts
from recsys.config.serving import Limits
from recsys.data.bounds import VALUES_EACH, VALUES_ONE, values_in
from recsys.data.wording import listed, printable, refusal
from recsys.errors import BadInput, TooLarge

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class CheckedRoute(APIRoute):
    """Refuses a query parameter that it does not have, and one that is given twice."""

    def get_route_handler(self) -> Handler:
        plain, names = super().get_route_handler(), self._query_names()
        body = self.body_field.field_info.annotation if self.body_field else None
        kind = body if isinstance(body, type) and issubclass(body, BaseModel) else None

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                check_names([name for name, _ in request.query_params.multi_items()], names)
            try:
                return await plain(BoundedRequest(request.scope, request.receive))
            except _Refused as refused:
                raise refused.wrong from None
            except RequestValidationError as error:
                raise _told(error, kind) from None

        return checked

    def _query_names(self) -> list[str]:
        """Those that FastAPI reads, and those of a route that reads its own (see parsing.py)."""
        documented = (self.openapi_extra or {}).get("parameters", ())
        return [
            *(field.alias for field in self.dependant.query_params),
            *(one["name"] for one in documented if one["in"] == "query"),
        ]


def check_names(given: list[str], names: list[str]) -> None:
    """Raise BadInput for a name of a query string that is not one of `names`, or that is given twice."""
    for name in given:
        field = printable(name[:64])
        if name not in names:
            there = f"the parameters are {listed(names)}" if names else "this call has no parameters"
            raise BadInput(f"{field}: is not known; {there}", field=field, code="unknown_field")
        if given.count(name) > 1:
            raise BadInput(f"{field}: is given {given.count(name)} times; give it once", field=field)


class _Refused(HTTPException):
    """FastAPI makes a 400 of every other error that comes while it reads a body."""

    def __init__(self, wrong: BadInput) -> None:
        super().__init__(422)
        self.wrong = wrong


class BoundedRequest(Request):
    """A request whose JSON is parsed when it holds few enough values, and whose lists are no longer than allowed."""

    async def json(self) -> Any:
        limits: Limits = self.scope.get("recsys.limits") or Limits()
        body = await self.body()
        most = max(limits.bulk * VALUES_EACH, VALUES_ONE)
        if (values := values_in(body, most)) > most:
            raise _Refused(
                TooLarge(f"body: holds {values} values; at most {most} are allowed: send parts", field="body")
            )
        parsed = await parsed_in_parts(body) if len(body) >= LONG else None
        if parsed is None:
            parsed = _parsed(body)
        if isinstance(parsed, dict):
            for name, value in parsed.items():
                if isinstance(value, list) and len(value) > limits.bulk:
                    raise _Refused(over_bulk(len(value), printable(name[:64]), limits))
        return parsed


def _parsed(body: bytes) -> Any:
    """A body of JSON. msgspec takes a third of the time. What it does not take, such as NaN, half of a surrogate pair
    or a byte order mark, the standard library judges, which also has the words of errors.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json.loads(body.decode("utf-8-sig"))


def over_bulk(count: int, field: str, limits: Limits) -> TooLarge:
    return TooLarge(f"{field}: {count} are over the limit of {limits.bulk} in one call; send parts", field=field)


def _told(error: RequestValidationError, kind: type[BaseModel] | None) -> Exception:
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadInput(
            f"body: is no JSON: {first['ctx']['error']} at character {first['loc'][-1]}",
            field="body",
            code="malformed_json",
        )
    if first["loc"] == ("body",) and isinstance(first["input"], bytes):  # FastAPI parses nothing else than JSON
        return UnmarkedBody("body: is not marked as JSON; send the header content-type: application/json", field="body")
    # The first part says path, query or body, which the field's own name does.
    return refusal([{**e, "loc": e["loc"][1:]} for e in errors], kind)


class UnmarkedBody(BadInput):
    code = "unsupported_media_type"
