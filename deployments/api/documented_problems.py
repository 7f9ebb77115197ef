"""What the OpenAPI page says of errors: the same of every operation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from deployments.api.answer_schemas import Problem

_PROBLEMS = {
    401: "The call needs an API key, and none that is valid was sent",
    403: "The key does not have the scope that the call needs",
    404: "What was asked for does not exist",
    408: "The body has not come in time",
    409: "A later write of the item, or a higher version, is known; nothing was changed",
    410: "The token of a page has expired: begin with `first`",
    413: "The body, or a list in it, is over its limit",
    415: "The body is not marked as JSON",
    421: "No key is asked for, and the Host header does not name this machine",
    422: "A field is wrong; `detail` names it, its limit and the fix",
    429: "More requests are waiting than can be answered in time, or the key is over its rate",
    503: "A part does not answer; nothing was changed, or `detail` says so",
}
_REFERENCE = "#/components/schemas/"
_FASTAPIS = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI's own 422, which no call answers."""


def add_problems(page: dict[str, Any]) -> None:
    """Add the errors to each operation, and their schema.

    Given to FastAPI as `responses`, each of them would make a validator for each route, a tenth of a second in all.
    """
    schema = Problem.model_json_schema(ref_template=f"{_REFERENCE}{{model}}")
    schemas = page["components"]["schemas"]
    for name in _FASTAPIS:
        schemas.pop(name, None)
    schemas |= schema.pop("$defs", {}) | {"Problem": schema}
    content = {
        "application/problem+json": {},
        "application/json": {"schema": {"$ref": f"{_REFERENCE}Problem"}},
    }
    responses = {str(status): {"description": text, "content": content} for status, text in _PROBLEMS.items()}
    for operations in page["paths"].values():
        for operation in operations.values():
            operation["responses"] |= deepcopy(responses)
