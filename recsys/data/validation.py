"""Checks of items and events that depend on the configuration: declared attributes, event types, limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from recsys.config.platform import AttributeType
from recsys.config.scenarios import EventType
from recsys.config.serving import Limits
from recsys.data.bounds import KEYWORD_CHARS, KEYWORDS
from recsys.data.canonical import canonical
from recsys.data.plausible_times import AHEAD_S, refuse_other_unit
from recsys.data.records import FLOAT_MAX, EventIn, ItemIn, StatedItem, day_of, unix_seconds
from recsys.data.wording import listed, misfit, path, shown, undeclared
from recsys.datatypes import AttributeValue
from recsys.errors import BadInput

I = TypeVar("I", bound=ItemIn)  # noqa: E741 - as E is one of events
E = TypeVar("E", bound=EventIn)
_DAY_S = 86_400


def check_attributes(
    attributes: Mapping[str, Any],
    declared: Mapping[str, AttributeType],
    at: str = "attributes",
    under: str = "attributes",
) -> dict[str, AttributeValue]:
    """Return the values as they are stored: str, list[str], finite float, bool or Unix seconds. Nulls are left out.

    Raises BadInput with field `attributes.NAME` for an undeclared name and for a value of another type. `at`: what
    stands in the place of `attributes`. `under`: where they are declared in the config file.
    """
    checked: dict[str, AttributeValue] = {}
    for name, value in attributes.items():
        field = path((at, name))
        if name not in declared:
            raise undeclared(field, declared, under=under)
        if value is None:
            continue
        try:
            checked[name] = checked_attribute(value, declared[name])
        except ValueError as wrong:
            raise BadInput(f"{field}: {wrong}", field=field) from None
    return checked


def checked_attribute(value: object, kind: AttributeType) -> AttributeValue:
    """Return the value as it is stored. Raises ValueError with a message for the client."""
    return _CHECKS[kind](value)


def _keywords(value: object) -> list[str]:
    if not isinstance(value, list):
        raise misfit("a list of strings, as declared", value)
    if len(value) > KEYWORDS:
        raise ValueError(f"has {len(value)} entries; at most {KEYWORDS} are allowed: keep the telling ones")
    return [_keyword(entry, "a list of strings, as declared") for entry in value]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise misfit("a number, as declared", value)
    if not -FLOAT_MAX <= value <= FLOAT_MAX:
        raise misfit("a finite number", value)
    return float(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise misfit("true or false, as declared", value)
    return value


def _keyword(value: object, wanted: str = "a string, as declared") -> str:
    if not isinstance(value, str):
        raise misfit(wanted, value)
    if len(value) > KEYWORD_CHARS:
        raise ValueError(f"has {len(value)} characters; at most {KEYWORD_CHARS} are allowed: move it into text")
    return canonical(value)


_CHECKS: Mapping[AttributeType, Callable[[object], AttributeValue]] = {
    "keyword": _keyword,
    "keyword[]": _keywords,
    "number": _number,
    "boolean": _boolean,
    "datetime": unix_seconds,
    "date": lambda value: day_of(unix_seconds(value)),
}


def check_item(item: I, declared: Mapping[str, AttributeType] | None, limits: Limits, now: float = math.inf) -> I:
    """Return the item with attributes as they are stored. `declared` None: they are already.

    Raises BadInput when a text is too long, an attribute does not fit its declaration, or `created_at` is more than a
    year after `now`, in Unix seconds.
    """
    for field in ("title", "text"):
        chars = len(getattr(item, field))
        if chars > limits.text_chars:
            raise BadInput(
                f"{field}: has {chars} characters; at most {limits.text_chars} are allowed: "
                "shorten it or raise limits.text_chars",
                field=field,
                code="too_large",
            )
    if item.created_at is not None and item.created_at - now > AHEAD_S:
        raise BadInput(
            f"created_at: lies {(item.created_at - now) / _DAY_S:.0f} days ahead; at most {AHEAD_S // _DAY_S} are "
            "allowed, for the item would be the newest until then: give when it came, or leave it out",
            field="created_at",
        )
    if not item.attributes or declared is None:
        return item
    if isinstance(item, StatedItem):
        refuse_other_units(item.attributes, declared)
    return item.model_copy(update={"attributes": check_attributes(item.attributes, declared)})


def refuse_other_units(attributes: Mapping[str, Any], declared: Mapping[str, AttributeType]) -> None:
    """Raise BadInput for a time that a caller states as a year or a day number, see `plausible_times`."""
    for name, value in attributes.items():
        if declared.get(name) in ("date", "datetime"):
            field = path(("attributes", name))
            try:
                refuse_other_unit(value)
            except ValueError as wrong:
                raise BadInput(f"{field}: {wrong}", field=field) from None


def check_event(event: E, event_types: Collection[str], limits: Limits, now: float) -> E:
    """Return the event unchanged. `now`: Unix seconds.

    Raises BadInput for a type that is not configured, and for a time more than `limits.clock_skew_s` after `now`.
    """
    if event.type not in event_types:
        raise BadInput(
            f"type: {shown(event.type)} is not configured; known are: {listed(event_types)}",
            field="type",
            code="unknown_event_type",
        )
    if event.timestamp is None:
        return event
    ahead = event.timestamp - now
    if ahead > limits.clock_skew_s:
        raise BadInput(
            f"timestamp: lies {ahead:.0f} s in the future; at most {limits.clock_skew_s:g} s are allowed: "
            "set the sender's clock, or send no timestamp",
            field="timestamp",
        )
    return event


def check_outcome(event: E, event_types: Mapping[str, EventType]) -> E:
    """The event as it is. BadInput for one that neither becomes part of a history nor names an answer."""
    if event.request_id is None and not event_types[event.type].kept:
        raise BadInput(
            f"request_id: is missing; an event of type {event.type} says what came of an answer: give that one's "
            "request_id",
            field="request_id",
            code="missing",
        )
    return event
