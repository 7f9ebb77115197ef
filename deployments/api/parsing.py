"""Parameters of the hottest calls, read by one compiled validator.

FastAPI looks at each declared parameter in Python at every request, which took 60 of the 100 microseconds that the
whole HTTP layer needs. A model reads them all at once; the OpenAPI page is told of them from the model's own schema.
"""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import unquote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from recsys.records import Id

M = TypeVar("M", bound=BaseModel)


def parameters(request: Request, model: type[M]) -> M:
    """The query string as a model. Raises RequestValidationError naming the parameter."""
    try:
        return model.model_validate_strings(dict(request.query_params))
    except ValidationError as error:
        raise _invalid(error, "query") from None


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
