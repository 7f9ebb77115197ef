"""What the platform's settings refuse of a record that is well formed: attributes, event types, times."""

from __future__ import annotations

import math

import pytest

from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.data.records import EventIn, ItemIn
from recsys.data.validation import check_attributes, check_event, check_item
from recsys.errors import BadInput

DECLARED: dict[str, AttributeType] = {
    "genre": "keyword",
    "tags": "keyword[]",
    "year": "number",
    "seen_at": "datetime",
}


def test_attributes_are_normalised_to_what_is_stored():
    """Numbers become float, times Unix seconds, nulls disappear."""
    values = {"genre": "jazz", "tags": ["a", "b"], "year": 1977, "seen_at": "1970-01-01T00:00:01Z"}
    assert check_attributes(values, DECLARED) == {**values, "year": 1977.0, "seen_at": 1.0}
    assert isinstance(check_attributes({"year": 1977}, DECLARED)["year"], float)
    assert check_attributes({"genre": None}, DECLARED) == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("genre", 5, "must be a string, as declared, not 5"),
        ("genre", ["a"], "must be a string, as declared, not a list"),
        ("genre", "x" * 257, "257 characters; at most 256"),
        ("tags", "a", "must be a list of strings"),
        ("tags", ["a", 5], "must be a list of strings"),
        ("tags", ["a"] * 257, "257 entries; at most 256"),
        ("tags", ["x" * 257], "at most 256"),
        ("year", "1977", "must be a number, as declared, not '1977'"),
        ("year", True, "must be a number"),
        ("year", math.nan, "finite"),
        ("year", 10**400, "finite"),
        ("seen_at", "noon", "RFC 3339"),
        ("seen_at", True, "RFC 3339"),
    ],
)
def test_an_attribute_that_does_not_fit_names_itself_and_the_declared_type(name, value, says):
    """The field is attributes.NAME."""
    with pytest.raises(BadInput) as wrong:
        check_attributes({name: value}, DECLARED)
    assert wrong.value.field == f"attributes.{name}"
    assert str(wrong.value).startswith(f"attributes.{name}: ")
    assert says in str(wrong.value)


def test_limits_of_attributes_are_inclusive():
    """256 characters and 256 entries still fit."""
    check_attributes({"genre": "x" * 256, "tags": ["y" * 256] * 256}, DECLARED)


def test_an_undeclared_attribute_names_the_declared_ones():
    """Also a null, for the name is wrong whatever the value."""
    with pytest.raises(BadInput, match="genre, tags, year, seen_at") as wrong:
        check_attributes({"colour": None}, DECLARED)
    assert (wrong.value.field, wrong.value.code) == ("attributes.colour", "undeclared_attribute")
    with pytest.raises(BadInput, match="declared are: none"):
        check_attributes({"colour": "red"}, {})


def test_check_item_holds_the_text_limit_and_normalises():
    """The message names field, limit and the setting that raises it."""
    limits = Limits(text_chars=10)
    item = ItemIn(item_id="i", title="0123456789", attributes={"year": 1977.0, "genre": None})
    assert check_item(item, DECLARED, limits).attributes == {"year": 1977.0}
    for field in ("title", "text"):
        with pytest.raises(BadInput, match=rf"{field}: has 11 characters; at most 10 .*limits\.text_chars") as wrong:
            check_item(ItemIn(item_id="i", **{field: "x" * 11}), DECLARED, limits)
        assert (wrong.value.field, wrong.value.code) == (field, "too_large")


def test_check_event_knows_the_types_and_the_clock():
    """No time is as good as any; a little ahead is a clock that goes wrong, much ahead is refused."""
    limits, types = Limits(clock_skew_s=60), ("view", "like")
    event = EventIn(event_id="e", user_id="u", item_id="i", type="view")
    assert check_event(event, types, limits, now=1000.0) == event
    edge = event.model_copy(update={"timestamp": 1060.0})
    assert check_event(edge, types, limits, now=1000.0) == edge
    with pytest.raises(BadInput, match="101 s in the future; at most 60 s") as wrong:
        check_event(event.model_copy(update={"timestamp": 1101.0}), types, limits, now=1000.0)
    assert wrong.value.field == "timestamp"
    with pytest.raises(BadInput, match="'buy' is not configured; known are: view, like") as wrong:
        check_event(event.model_copy(update={"type": "buy"}), types, limits, now=1000.0)
    assert (wrong.value.field, wrong.value.code) == ("type", "unknown_event_type")
