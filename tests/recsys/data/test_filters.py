"""Filters: what is refused, and that a mask is what a reader of the filter expects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.data.filters import FilterIn, compile_filter
from recsys.datatypes import Condition, Filter
from recsys.errors import BadInput
from recsys.shard.attributes import Attributes

DECLARED = {"genre": "keyword", "tags": "keyword[]", "year": "number", "at": "datetime"}


def compiled(**given: Any) -> Filter | None:
    return compile_filter(FilterIn.model_validate(given), DECLARED)


@pytest.mark.parametrize(
    ("condition", "field", "words"),
    [
        ({"key": "nope", "eq": "x"}, "filter.must[0].key", "not declared"),
        ({"key": "genre", "eq": 3}, "filter.must[0].genre", "must be a string, as declared"),
        ({"key": "tags", "any": ["a", 2.5]}, "filter.must[0].tags", "must be a string, as declared"),
        ({"key": "genre", "gt": 3}, "filter.must[0]", "range"),
        ({"key": "tags", "lte": "x"}, "filter.must[0]", "range"),
        ({"key": "year", "eq": "1999"}, "filter.must[0].year", "finite number"),
        ({"key": "year", "gte": "old"}, "filter.must[0].year", "finite number"),
        ({"key": "year", "any": [math.inf]}, "filter.must[0].year", "finite number"),
        ({"key": "year", "any": [math.nan]}, "filter.must[0].year", "finite number"),
        ({"key": "year", "eq": 10**400}, "filter.must[0].year", "finite number"),
        ({"key": "at", "lt": "yesterday"}, "filter.must[0].at", "RFC 3339"),
        ({"key": "at", "eq": 1e18}, "filter.must[0].at", "years"),
    ],
)
def test_a_refusal_names_the_condition(condition, field, words):
    """The field says where it stands, the message what is wrong."""
    with pytest.raises(BadInput, match=words) as refused:
        compiled(must=[condition])
    assert refused.value.field == field
    assert str(refused.value).startswith(field)


def test_a_refusal_names_the_right_part():
    """Of many conditions it is the bad one."""
    good = {"key": "genre", "eq": "x"}
    with pytest.raises(BadInput) as refused:
        compiled(must=[good], must_not=[good, good, {"key": "nope", "exists": True}])
    assert refused.value.field == "filter.must_not[2].key"


@pytest.mark.parametrize(
    "condition",
    [
        {"key": "genre"},
        {"key": "genre", "eq": "x", "any": ["y"]},
        {"key": "year", "gt": 1, "gte": 1},
        {"key": "year", "lt": 1, "lte": 1},
        {"key": "year", "gt": 1, "exists": True},
        {"key": "genre", "any": []},
        {"key": "genre", "eq": "x" * 257},
        {"key": "genre", "equals": "x"},
    ],
)
def test_a_condition_is_exactly_one_test(condition):
    """Anything else does not get as far as being compiled."""
    with pytest.raises(ValidationError):
        FilterIn.model_validate({"must": [condition]})


def test_an_empty_filter_is_none():
    """No filter, an empty one and one of empty parts are the same: all items."""
    assert compile_filter(None, DECLARED) is None
    assert compiled() is compiled(must=[], should=[], must_not=[]) is None


def test_compiled_filters_are_equal_and_hashable():
    """A shard keeps what it derived for a filter under the filter itself."""
    one, two = (compiled(must=[{"key": "year", "gte": 1990, "lt": 2000.0}]) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one.must[0] == Condition("year", "range", low=1990.0, high=2000.0, high_open=True)


def test_datetimes_become_seconds():
    """Texts and numbers mean the same moment."""
    condition = compiled(must=[{"key": "at", "gte": "2026-01-31T12:00:00Z"}]).must[0]
    assert condition.low == 1_769_860_800.0
    assert compiled(must=[{"key": "at", "eq": "2026-01-31T12:00:00Z"}]).must[0].values == (1_769_860_800.0,)


def naive(condition: dict[str, Any], item: dict[str, Any]) -> bool:
    """The condition as the documentation says it, on one item."""
    value = item.get(condition["key"])
    values = value if isinstance(value, list) else [] if value is None else [value]
    values = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
    if "exists" in condition:
        return bool(values) == condition["exists"]
    if "eq" in condition:
        return condition["eq"] in values
    if "any" in condition:
        return any(v in values for v in condition["any"])
    tests = {"gt": lambda v, b: v > b, "gte": lambda v, b: v >= b, "lt": lambda v, b: v < b, "lte": lambda v, b: v <= b}
    return any(all(tests[op](v, b) for op, b in condition.items() if op != "key") for v in values)


words = st.sampled_from(["a", "b", "ü", ""])
numbers = st.sampled_from([-1.5, 0.0, 1.0, 2.0, 1e9])
items = st.fixed_dictionaries(
    {},
    optional={
        "genre": words,
        "tags": st.lists(words, max_size=3),
        "year": numbers | st.just(math.nan) | st.integers(0, 2),
        "at": numbers,
    },
)


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    keyword, number = st.sampled_from(["genre", "tags"]), st.sampled_from(["year", "at"])
    bounds = st.one_of(st.fixed_dictionaries({low: numbers}) for low in ("gt", "gte", "lt", "lte")) | st.tuples(
        st.sampled_from(["gt", "gte"]), st.sampled_from(["lt", "lte"]), numbers, numbers
    ).map(lambda t: {t[0]: t[2], t[1]: t[3]})
    return st.one_of(
        st.builds(lambda k, v: {"key": k, "exists": v}, st.sampled_from(list(DECLARED)), st.booleans()),
        st.builds(lambda k, v: {"key": k, "eq": v}, keyword, words),
        st.builds(lambda k, v: {"key": k, "any": v}, keyword, st.lists(words, min_size=1, max_size=3)),
        st.builds(lambda k, v: {"key": k, "eq": v}, number, numbers),
        st.builds(lambda k, v: {"key": k, "any": v}, number, st.lists(numbers, min_size=1, max_size=3)),
        st.builds(lambda k, b: {"key": k} | b, number, bounds),
    )


parts = st.lists(conditions(), max_size=3)


@given(st.lists(items, max_size=12), st.lists(items, max_size=5), parts, parts, parts)
def test_a_mask_is_the_filter_read_aloud(first, later, must, should, must_not):
    """All of must, any of should where there is one, none of must_not; over rows added in two goes."""
    attributes = Attributes(DECLARED)
    attributes.extend(0, first)
    attributes.extend(len(first), later)
    given_filter = compiled(must=must, should=should, must_not=must_not) or Filter()
    rows = first + later
    expected = [
        all(naive(c, i) for c in must)
        and (not should or any(naive(c, i) for c in should))
        and not any(naive(c, i) for c in must_not)
        for i in rows
    ]
    assert attributes.mask(given_filter, len(rows)).tolist() == expected
    assert attributes.mask(given_filter, len(first)).tolist() == expected[: len(first)]
    assert attributes.rows(given_filter, len(rows)).tolist() == np.flatnonzero(expected).tolist()


def test_an_attribute_declared_after_the_build_is_absent():
    """A version built before has no such column: nothing has the attribute there."""
    attributes = Attributes({"genre": "keyword"})
    attributes.extend(0, [{"genre": "a", "year": 1}])
    there = compiled(must=[{"key": "year", "exists": True}])
    absent = compiled(must=[{"key": "year", "exists": False}])
    assert not attributes.mask(there, 1).any()
    assert attributes.mask(absent, 1).all()
    assert not attributes.mask(compiled(must=[{"key": "year", "gte": 0}]), 1).any()
