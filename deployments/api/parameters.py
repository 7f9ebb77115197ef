"""Parameters that several calls share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path, Query
from pydantic import BeforeValidator, ValidationError

from deployments.api.routes import over_bulk
from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.data.filters import FilterIn, compile_filter
from recsys.data.records import Id
from recsys.data.wording import refusal
from recsys.datatypes import Filter
from recsys.errors import BadInput


def _decoded(part: object) -> object:
    """Routes match the path as it was sent; here the part becomes the id again."""
    return decoded(part) if isinstance(part, str) else part


def decoded(part: str) -> str:
    """ValueError where it is no percent-encoded UTF-8."""
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("is no percent-encoded UTF-8") from None


UserId = Annotated[Id, BeforeValidator(_decoded), Path(description="Any string of 1 to 128 bytes, percent-encoded.")]
ItemId = Annotated[Id, BeforeValidator(_decoded), Path(description="Any string of 1 to 128 bytes, percent-encoded.")]
FilterText = Annotated[str | None, Query(description="A filter as JSON, as in POST /v1/recommendations.")]


def check_k(k: int, limits: Limits) -> int:
    if k > limits.k:
        raise BadInput(f"k: {k} is over the limit of {limits.k}; ask for fewer, or raise limits.k", field="k")
    return k


def check_bulk(count: int, field: str, limits: Limits) -> None:
    if count > limits.bulk:
        raise over_bulk(count, field, limits)


def filter_of(text: str | None, declared: dict[str, AttributeType]) -> Filter | None:
    """Of the query parameter. Raises BadInput."""
    if text is None:
        return None
    try:
        given = FilterIn.model_validate_json(text)
    except ValidationError as error:
        raise refusal(error, FilterIn, inside=("filter",)) from None
    return compile_filter(given, declared)
