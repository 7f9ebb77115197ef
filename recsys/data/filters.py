"""Filters on declared attributes, as a client sends them: must, should and must_not lists of typed conditions.

A filter is checked once against the declaration and compiled to frozen tuples. A shard turns it into a boolean mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, PlainValidator, model_validator

from recsys.config.platform import AttributeType
from recsys.data.bounds import KEYWORD_CHARS, KEYWORDS, Bounded
from recsys.data.canonical import canonical
from recsys.data.records import FLOAT_MAX, day_of, encodable, stated_seconds
from recsys.data.wording import misfit, undeclared
from recsys.datatypes import CREATED_AT, ITEM_ID, Condition, Filter, Reference
from recsys.errors import BadInput


def _scalar(value: object) -> str | float | bool | Reference:
    """Validate without a union: pydantic would add the union's branches to the field name of an error."""
    if isinstance(value, str):
        if len(value) > KEYWORD_CHARS:
            raise ValueError(f"has {len(value)} characters; at most {KEYWORD_CHARS} are allowed: shorten it")
        if not encodable(value):
            raise ValueError("holds a lone surrogate, which UTF-8 cannot carry; remove it")
        return canonical(value)
    if isinstance(value, dict):
        return _reference(value)
    if not isinstance(value, int | float):
        raise misfit("a string, a number, true or false", value)
    return value


def _reference(value: Mapping[object, object]) -> Reference:
    [(of, name), *more] = value.items() if value else [(None, None)]
    if more or of not in ("user", "context") or not isinstance(name, str) or len(name) > 64:
        raise ValueError('is an object, which has to be {"user": NAME} or {"context": NAME}')
    return Reference("user" if of == "user" else "context", name)


BUILT_IN: dict[str, AttributeType] = {CREATED_AT: "datetime", ITEM_ID: "keyword"}
"""What filters may name without being declared."""

Scalar = Annotated[
    str | float | bool | Reference,
    PlainValidator(_scalar, json_schema_input_type=str | float | bool | dict[str, str]),
]
"""A value, or where it stands: `{"user": NAME}`, `{"context": NAME}`."""

Referable = Mapping[str, Mapping[str, AttributeType]]
"""`user` and `context` -> what is declared of them."""
NOTHING_REFERABLE: Referable = {}


class ConditionIn(Bounded):
    """A condition as it arrives: exactly one of eq, any, exists, or a range of gt, gte, lt, lte."""

    model_config = ConfigDict(strict=True)

    key: str = Field(max_length=64)
    eq: Scalar | None = None
    any: list[Scalar] | None = Field(None, min_length=1, max_length=KEYWORDS)
    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None
    exists: bool | None = None

    @model_validator(mode="after")
    def _one_test(self) -> ConditionIn:
        ranged = any(v is not None for v in (self.gt, self.gte, self.lt, self.lte))
        if sum((self.eq is not None, self.any is not None, self.exists is not None, ranged)) != 1:
            raise ValueError("give exactly one of eq, any, exists, or a range (gt, gte, lt, lte)")
        if (self.gt is not None and self.gte is not None) or (self.lt is not None and self.lte is not None):
            raise ValueError("give one of gt and gte, and one of lt and lte")
        return self


class FilterIn(Bounded):
    """A filter as it arrives."""

    model_config = ConfigDict(strict=True)

    must: list[ConditionIn] = Field([], max_length=32)
    should: list[ConditionIn] = Field([], max_length=32)
    must_not: list[ConditionIn] = Field([], max_length=32)


def compile_filter(
    given: FilterIn | None,
    declared: Mapping[str, AttributeType],
    at: str = "filter",
    referable: Referable = NOTHING_REFERABLE,
) -> Filter | None:
    """Return the filter, checked against the declared attributes. None: it has no condition.

    Raises BadInput naming the condition. `at`: where the filter stands in the input. `referable`: what it may name.
    """
    if given is None or not (given.must or given.should or given.must_not):
        return None
    must, should, must_not = (
        tuple(_compile(c, declared, f"{at}.{part}[{i}]", referable) for i, c in enumerate(getattr(given, part)))
        for part in ("must", "should", "must_not")
    )
    return Filter(must, should, must_not)


def _compile(given: ConditionIn, declared: Mapping[str, AttributeType], at: str, referable: Referable) -> Condition:
    kind = declared.get(given.key, BUILT_IN.get(given.key))
    if kind is None:
        raise undeclared(f"{at}.key", sorted({*declared, *BUILT_IN}), given.key)
    if given.exists is not None:
        return Condition(given.key, "exists", exists=given.exists)
    values = [given.eq] if given.eq is not None else given.any
    if values is not None:
        plain = tuple(_value(v, kind, f"{at}.{given.key}") for v in values if not isinstance(v, Reference))
        references = [v for v in values if isinstance(v, Reference)]
        for reference in references:
            _check_reference(reference, kind, f"{at}.{given.key}", referable)
        return Condition(given.key, "any", plain, references=tuple(references))
    if kind in ("keyword", "keyword[]", "boolean"):
        raise BadInput(f"{at}: {given.key!r} is a {kind}; a range needs a number, date or datetime", field=at)
    low, high = (given.gt, given.gte), (given.lt, given.lte)
    bounds = [None if b is None else float(_value(b, kind, f"{at}.{given.key}")) for b in (*low, *high)]
    gt, gte, lt, lte = bounds
    return Condition(
        given.key,
        "range",
        low=gt if gt is not None else gte if gte is not None else float("-inf"),
        high=lt if lt is not None else lte if lte is not None else float("inf"),
        low_open=gt is not None,
        high_open=lt is not None,
    )


def _check_reference(reference: Reference, kind: AttributeType, at: str, referable: Referable) -> None:
    there = referable.get(reference.of, {})
    if reference.name not in there:
        under = "context" if reference.of == "context" else "user_attributes"
        raise undeclared(at, sorted(there), reference.name, under=under)
    if there[reference.name].removesuffix("[]") != kind.removesuffix("[]"):
        raise BadInput(
            f"{at}: {reference.of}.{reference.name} is a {there[reference.name]}, and the attribute a {kind}", field=at
        )


def _value(value: str | float | Reference, kind: AttributeType, at: str) -> str | float:
    if isinstance(value, Reference):
        raise BadInput(f"{at}: a range cannot refer to {value.of}.{value.name}; give a value", field=at)
    if kind in ("keyword", "keyword[]"):
        if isinstance(value, str):
            return value
        raise BadInput(f"{at}: {misfit('a string, as declared', value)}", field=at)
    if kind in ("datetime", "date"):
        try:
            seconds = stated_seconds(value)
        except ValueError as error:
            raise BadInput(f"{at}: {error}", field=at) from None
        return day_of(seconds) if kind == "date" else seconds
    if kind == "boolean":
        if isinstance(value, bool):
            return float(value)  # a boolean column stores floats
        raise BadInput(f"{at}: {misfit('true or false, as declared', value)}", field=at)
    if isinstance(value, str | bool) or not abs(value) <= FLOAT_MAX:  # false for NaN
        raise BadInput(f"{at}: {misfit('a finite number, as declared', value)}", field=at)
    return float(value)
