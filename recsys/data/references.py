"""Filters that compare items with what is known of a user or a request.

`{"key": "country", "eq": {"user": "country"}}`, say. Such a filter is made plain before it goes to the shards, for
each request with its own values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from recsys.datatypes import AttributeValue, Condition, Filter

Facts = Mapping[str, Mapping[str, AttributeValue]]
"""`user` and `context` -> the values that are known, by name."""


def conditions(given: Filter) -> Iterator[Condition]:
    """All of a filter, and of those within it."""
    yield from (*given.must, *given.should, *given.must_not)
    for other in given.also:
        yield from conditions(other)


def refers(given: Filter | None, of: str | None = None) -> bool:
    """Whether a filter refers to facts; `of`: to those of the user, or of the context, None: to any."""
    return given is not None and any(
        of is None or reference.of == of for condition in conditions(given) for reference in condition.references
    )


def resolved(given: Filter, facts: Facts) -> Filter:
    """The filter with the facts in the place of what refers to them. What is not known equals nothing."""
    if not refers(given):
        return given
    must, should, must_not = (
        tuple(_resolved(condition, facts) for condition in part) for part in (given.must, given.should, given.must_not)
    )
    return Filter(must, should, must_not, tuple(resolved(other, facts) for other in given.also))


def unknown(given: Filter, facts: Facts) -> tuple[str, ...]:
    """What `must` and `should` refer to and is not known, such as `user.country`: there it matches nothing."""
    names = dict.fromkeys(
        f"{reference.of}.{reference.name}"
        for condition in (*given.must, *given.should)
        for reference in condition.references
        if facts.get(reference.of, {}).get(reference.name) is None
    )
    return tuple(dict.fromkeys((*names, *(name for other in given.also for name in unknown(other, facts)))))


def _resolved(condition: Condition, facts: Facts) -> Condition:
    if not condition.references:
        return condition
    values: list[str | float] = list(condition.values)
    for reference in condition.references:
        value = facts.get(reference.of, {}).get(reference.name)
        if isinstance(value, list):
            values += value
        elif value is not None:
            values.append(value if isinstance(value, str) else float(value))
    return replace(condition, values=tuple(dict.fromkeys(values)), references=())
