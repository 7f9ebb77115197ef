"""Parameters of the hottest calls, read by one compiled validator.

FastAPI looks at each declared parameter in Python at every request, which took 60 of the 100 microseconds that the
whole HTTP layer needs. A model reads them all at once; the OpenAPI page is told of them from the model's own schema.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from deployments.api.parameters import decoded
from deployments.api.routes import check_names
from recsys.data.records import Id
from recsys.data.wording import refusal
from recsys.errors import BadInput

M = TypeVar("M", bound=BaseModel)

_REMEMBERED = 1024
_LONGEST_REMEMBERED = 256
"""Bytes; with the number above, what query strings may take of memory."""


def parameters(model: type[M]) -> Callable[[bytes], M]:
    """A reader of the query string as a model, which raises BadInput naming the parameter.

    Query strings repeat: one that was read before is not read again.
    """
    names = list(model.model_fields)

    @lru_cache(_REMEMBERED)
    def read(query_string: bytes) -> M:
        given = QueryParams(query_string).multi_items()
        check_names([name for name, _ in given], names)
        return model.model_validate_strings(dict(given))

    def parameters_of(given: bytes) -> M:
        try:
            return read(given) if len(given) <= _LONGEST_REMEMBERED else read.__wrapped__(given)
        except ValidationError as error:
            raise refusal(error, model) from None

    return parameters_of


def path_id(part: str, name: str, ids: TypeAdapter[str]) -> str:
    """A percent-encoded id of the path, called `name`. Raises BadInput for one that is no id."""
    try:
        return ids.validate_python(decoded(part))
    except ValidationError as error:  # a ValueError as well
        raise refusal(error, inside=(name,)) from None
    except ValueError as error:
        raise BadInput(f"{name}: {error}", field=name) from None


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
