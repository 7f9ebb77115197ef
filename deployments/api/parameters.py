"""Parameters that several calls share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import unquote

import orjson
from fastapi import Path, Query
from pydantic import BeforeValidator, ValidationError

from deployments.api.routes import over_bulk
from deployments.api.schemas import BasketEvent
from recsys.config.platform import Platform
from recsys.config.serving import Limits, Serving
from recsys.data.filters import FilterIn, compile_filter
from recsys.data.records import Id
from recsys.data.validation import check_attributes
from recsys.data.wording import listed, refusal, shown
from recsys.datatypes import AttributeValue, Filter, Interaction
from recsys.errors import BadInput
from recsys.ranking.scenarios import referable_of
from recsys.state.users import MICROSECOND


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
EventId = Annotated[Id, BeforeValidator(_decoded), Path(description="Any string of 1 to 128 bytes, percent-encoded.")]
FilterText = Annotated[str | None, Query(description="A filter as JSON, as in POST /v1/recommendations.")]


def check_k(k: int, limits: Limits) -> int:
    if k > limits.k:
        raise BadInput(f"k: {k} is over the limit of {limits.k}; ask for fewer, or raise limits.k", field="k")
    return k


def check_bulk(count: int, field: str, limits: Limits) -> None:
    if count > limits.bulk:
        raise over_bulk(count, field, limits)


def context_of(given: Mapping[str, Any], platform: Platform) -> Mapping[str, AttributeValue]:
    """Raises BadInput."""
    return check_attributes(given, platform.context, "context", "context") if given else {}


def context_in(text: str | None, platform: Platform) -> Mapping[str, AttributeValue]:
    """Of the query parameter. Raises BadInput."""
    if text is None:
        return {}
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"context: is no JSON: {error}", field="context") from None
    if not isinstance(given, dict):
        raise BadInput("context: must be an object with named fields", field="context")
    return context_of(given, platform)


def basket_of(given: Sequence[BasketEvent], settings: Serving, now: float) -> tuple[Interaction, ...]:
    """Raises BadInput. `now`, in Unix seconds, is the time of events that carry none."""
    events = []
    for n, event in enumerate(given):
        at = f"events[{n}]"
        if event.type not in settings.event_types:
            names = listed(settings.event_types)
            raise BadInput(f"{at}.type: {shown(event.type)} is not configured; known are: {names}", field=f"{at}.type")
        timestamp = now + n * MICROSECOND if event.timestamp is None else event.timestamp
        events.append(Interaction(f"{n:02}", "", event.item_id, event.type, timestamp, event.value))
    return tuple(events)


def filter_of(text: str | None, platform: Platform) -> Filter | None:
    """Of the query parameter. Raises BadInput."""
    if text is None:
        return None
    try:
        given = FilterIn.model_validate_json(text)
    except ValidationError as error:
        raise refusal(error, FilterIn, inside=("filter",)) from None
    return compile_filter(given, platform.attributes, referable=referable_of(platform))
