"""Filters on declared attributes: must / should / must_not of typed conditions.

A filter is checked once against the declaration, travels as frozen tuples, and becomes a boolean mask in a shard.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, PlainValidator, model_validator

from recsys.config import AttributeType
from recsys.data.bounds import KEYWORD_CHARS, KEYWORDS, Bounded
from recsys.data.records import FLOAT_MAX, carried, unix_seconds
from recsys.data.wording import misfit, undeclared
from recsys.datatypes import Condition, Filter
from recsys.errors import BadInput


def _scalar(value: object) -> str | float:
    """One validator and no union: pydantic would name the branches of a union in the field of an error."""
    if isinstance(value, str):
        if len(value) > KEYWORD_CHARS:
            raise ValueError(f"has {len(value)} characters; at most {KEYWORD_CHARS} are allowed: shorten it")
        if not carried(value):
            raise ValueError("holds a lone surrogate, which UTF-8 cannot carry; remove it")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise misfit("a string or a number", value)
    return value


Scalar = Annotated[str | float, PlainValidator(_scalar, json_schema_input_type=str | float)]


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


def compile_filter(given: FilterIn | None, declared: dict[str, AttributeType]) -> Filter | None:
    """Check against the declared attributes; None for an empty filter. Raises BadInput naming the condition."""
    if given is None or not (given.must or given.should or given.must_not):
        return None
    parts = {
        part: tuple(_compile(c, declared, f"filter.{part}[{i}]") for i, c in enumerate(getattr(given, part)))
        for part in ("must", "should", "must_not")
    }
    return Filter(**parts)


def _compile(given: ConditionIn, declared: dict[str, AttributeType], at: str) -> Condition:
    kind = declared.get(given.key)
    if kind is None:
        raise undeclared(f"{at}.key", sorted(declared), given.key)
    if given.exists is not None:
        return Condition(given.key, "exists", exists=given.exists)
    values = [given.eq] if given.eq is not None else given.any
    if values is not None:
        return Condition(given.key, "any", tuple(_value(v, kind, f"{at}.{given.key}") for v in values))
    if kind in ("keyword", "keyword[]"):
        raise BadInput(f"{at}: {given.key!r} is a {kind}; a range needs a number or datetime", field=at)
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


def _value(value: str | float, kind: AttributeType, at: str) -> str | float:
    if kind in ("keyword", "keyword[]"):
        if isinstance(value, str):
            return value
        raise BadInput(f"{at}: {misfit('a string, as declared', value)}", field=at)
    if kind == "datetime":
        try:
            return unix_seconds(value)
        except ValueError as error:
            raise BadInput(f"{at}: {error}", field=at) from None
    if isinstance(value, str) or not abs(value) <= FLOAT_MAX:  # NaN compares to nothing
        raise BadInput(f"{at}: {misfit('a finite number, as declared', value)}", field=at)
    return float(value)
