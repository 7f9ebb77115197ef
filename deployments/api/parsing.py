"""Parameters of the hottest calls, read by one compiled validator.

FastAPI looks at each declared parameter in Python at every request, which took 60 of the 100 microseconds that the
whole HTTP layer needs. A model reads them all at once; the OpenAPI page is told of them from the model's own schema.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from recsys.records import Id

M = TypeVar("M", bound=BaseModel)

_REMEMBERED = 1024
_LONGEST_REMEMBERED = 256
"""Bytes; with the number above, what query strings may take of memory."""


def parameters(model: type[M]) -> Callable[[Request], M]:
    """A reader of the query string as a model, which raises RequestValidationError naming the parameter.

    Query strings repeat: one that was read before is not read again.
    """

    @lru_cache(_REMEMBERED)
    def read(query_string: bytes) -> M:
        return model.model_validate_strings(dict(QueryParams(query_string)))

    def parameters_of(request: Request) -> M:
        given = request.scope["query_string"]
        try:
            return read(given) if len(given) <= _LONGEST_REMEMBERED else read.__wrapped__(given)
        except ValidationError as error:
            raise _invalid(error, "query") from None

    return parameters_of


def path_id(request: Request, name: str, ids: TypeAdapter[str]) -> str:
    """A percent-encoded id of the path. Raises RequestValidationError for one that is no id."""
    try:
        return ids.validate_python(unquote(request.path_params[name], errors="strict"))
    except UnicodeDecodeError:
        wrong = {"type": "string_unicode", "loc": ("path", name), "msg": "is no percent-encoded UTF-8", "input": None}
        raise RequestValidationError([wrong]) from None
    except ValidationError as error:
        raise _invalid(error, "path", name) from None


def id_adapter() -> TypeAdapter[str]:
    return TypeAdapter(Id)


def documented(path: str, model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route: its path id and the model's fields."""
    schema = model.model_json_schema()
    text = {"type": "string", "description": "Any string of 1 to 128 bytes, percent-encoded."}
    described = [{"name": path, "in": "path", "required": True, "schema": text}]
    for name, field in schema["properties"].items():
        described.append({"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field})
    return {"parameters": described}


def _invalid(error: ValidationError, *where: str) -> RequestValidationError:
    return RequestValidationError([{**e, "loc": (*where, *e["loc"])} for e in error.errors(include_url=False)])
