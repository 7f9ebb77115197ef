"""Parameters that several calls share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path, Query
from pydantic import BeforeValidator, ValidationError

from deployments.api.problems import where, words
from recsys.config import AttributeType, Limits
from recsys.errors import BadInput, TooLarge
from recsys.filters import Filter, FilterIn, compile_filter
from recsys.records import Id


def _decoded(part: object) -> object:
    """Routes match the path as it was sent; here the part becomes the id again."""
    return unquote(part, errors="strict") if isinstance(part, str) else part


UserId = Annotated[Id, BeforeValidator(_decoded), Path(description="Any string of 1 to 128 bytes, percent-encoded.")]
ItemId = Annotated[Id, BeforeValidator(_decoded), Path(description="Any string of 1 to 128 bytes, percent-encoded.")]
FilterText = Annotated[str | None, Query(description="A filter as JSON, as in POST /v1/recommendations.")]


def check_k(k: int, limits: Limits) -> int:
    if k > limits.k:
        raise BadInput(f"k: {k} is over the limit of {limits.k}; ask for fewer, or raise limits.k", field="k")
    return k


def check_bulk(count: int, field: str, limits: Limits) -> None:
    if count > limits.bulk:
        raise TooLarge(f"{field}: {count} are over the limit of {limits.bulk} in one call; send parts", field=field)


def filter_of(text: str | None, declared: dict[str, AttributeType]) -> Filter | None:
    """Of the query parameter. Raises BadInput."""
    if text is None:
        return None
    try:
        given = FilterIn.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = where(("filter", *first["loc"]))
        raise BadInput(f"{field}: {words(first)}", field=field) from None
    return compile_filter(given, declared)
