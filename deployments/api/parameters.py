"""Parameters that several calls share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import unquote

import orjson
from fastapi import Path, Query
from pydantic import BeforeValidator, Field, ValidationError

from deployments.api.routes import over_bulk
from deployments.api.schemas import Basket, BasketEvent, Body, Rules
from recsys.config.platform import Platform
from recsys.config.scenarios import Kind
from recsys.config.serving import Limits, Serving
from recsys.data.filters import FilterIn, compile_filter
from recsys.data.plain_events import MICROSECOND
from recsys.data.records import Id
from recsys.data.rules import compile_rules
from recsys.data.validation import check_attributes
from recsys.data.wording import listed, refusal, shown
from recsys.datatypes import AttributeValue, Filter, Interaction, Rule
from recsys.errors import BadInput
from recsys.ranking.scenarios import referable_of


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
ContextText = Annotated[str | None, Query(description="A JSON object by the names of `args.context`.")]
RulesText = Annotated[str | None, Query(description="A JSON list of rules, as in POST /v1/recommendations.")]
EventsText = Annotated[str | None, Query(description="A JSON list of events, as in POST /v1/recommendations.")]
FilterText = Annotated[str | None, Query(description="A filter as JSON, as in POST /v1/recommendations.")]


def check_k(k: int, limits: Limits, field: str = "k") -> int:
    if k > limits.k:
        raise BadInput(f"{field}: {k} is over the limit of {limits.k}; ask for fewer, or raise limits.k", field=field)
    return k


def check_text(text: str, limits: Limits, field: str = "text") -> str:
    """Of a search."""
    if len(text) > limits.query_chars:
        raise BadInput(
            f"{field}: {len(text)} characters are over the limit of {limits.query_chars}; shorten it", field=field
        )
    return text


def check_bulk(count: int, field: str, limits: Limits) -> None:
    if count > limits.bulk:
        raise over_bulk(count, field, limits)


def scenario_for(settings: Serving, name: str, call: Kind, field: str = "scenario") -> str:
    """The name, if the scenario is for this call. Raises BadInput."""
    scenarios = settings.scenarios
    if name in scenarios and scenarios[name].call(name) == call:
        return name
    names = ", ".join(sorted(other for other, scenario in scenarios.items() if scenario.call(other) == call))
    raise BadInput(f"{field}: {name!r} is none of those for this call, which are {names}", field=field)


def context_of(given: Mapping[str, Any], platform: Platform) -> Mapping[str, AttributeValue]:
    """Raises BadInput."""
    return check_attributes(given, platform.context, "context", "context") if given else {}


def context_in(text: str | None, platform: Platform) -> Mapping[str, AttributeValue]:
    """Of the query parameter. Raises BadInput."""
    if text is None:
        return {}
    given = _json_in(text, "context")
    if not isinstance(given, dict):
        raise BadInput("context: must be an object with named fields", field="context")
    return context_of(given, platform)


class _Lists(Body):
    """Lists that a query string has as JSON."""

    rules: Rules = Field([])
    events: Basket = Field([])


def rules_in(text: str | None, platform: Platform) -> tuple[Rule, ...]:
    """Of the query parameter. Raises BadInput."""
    if text is None:
        return ()
    return compile_rules(_lists_in("rules", text).rules, platform.attributes, referable=referable_of(platform))


def basket_in(text: str | None, settings: Serving) -> tuple[Interaction, ...]:
    """Of the query parameter `events`. Raises BadInput."""
    return () if text is None else basket_of(_lists_in("events", text).events, settings, time.time())


def _lists_in(name: str, text: str) -> _Lists:
    try:
        return _Lists.model_validate({name: _json_in(text, name)})
    except ValidationError as error:
        raise refusal(error, _Lists) from None


def _json_in(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{field}: is no JSON: {error}", field=field) from None


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
