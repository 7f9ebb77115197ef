"""What is taken from outside, what is refused, and whether the refusal says what to do."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.platform import AttributeType
from recsys.data.canonical import canonical
from recsys.data.records import EventIn, ItemIn, Refused, unix_seconds, validate_each
from recsys.data.validation import check_attributes
from recsys.errors import BadInput
from tests.support.any_text import any_text

EVENT = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "type": "view", "timestamp": 1_700_000_000}
ITEM = {"item_id": "i1", "title": "A film"}
DECLARED: dict[str, AttributeType] = {
    "genre": "keyword",
    "tags": "keyword[]",
    "year": "number",
    "seen_at": "datetime",
}


def only_refusal(kind, raw):
    good, refused = validate_each(kind, [raw])
    assert good == []
    assert len(refused) == 1
    return refused[0]


@pytest.mark.parametrize(
    ("given_time", "expected"),
    [
        (0, 0.0),
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000.25, 1_700_000_000.25),
        ("1700000000", 1_700_000_000.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01 00:00:01+00:00", 1.0),
        ("1970-01-01T02:00:00.5+02:00", 0.5),
        ("1970-01-01T00:00:01", 1.0),
        ("1970-01-02", 86_400.0),
        (datetime(1970, 1, 1, 0, 0, 1), 1.0),  # noqa: DTZ001 - without an offset it is UTC
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0.0),
        (date(1970, 1, 2), 86_400.0),
        (-2_208_988_800, -2_208_988_800.0),
    ],
)
def test_a_time_is_unix_seconds_or_rfc_3339_and_utc_where_no_offset_is_named(given_time, expected):
    """Every accepted way to write a time comes out as the same float of Unix seconds."""
    assert unix_seconds(given_time) == expected
    (_, event), *_ = validate_each(EventIn, [{**EVENT, "timestamp": given_time}])[0]
    assert event.timestamp == expected


@pytest.mark.parametrize(
    ("given_time", "says"),
    [
        (1_700_000_000_000, "not milliseconds"),
        ("1700000000000", "not milliseconds"),
        (253_402_300_800, "1900 to 9999"),
        (-2_208_988_801, "1900 to 9999"),
        ("1899-12-31T23:59:59Z", "1900 to 9999"),
        (math.nan, "1900 to 9999"),
        (math.inf, "1900 to 9999"),
        pytest.param(10**5000, "1900 to 9999", id="huge"),
        (True, "must be RFC 3339"),
        ("yesterday", "must be RFC 3339"),
        ("2026_01_31", "must be RFC 3339"),
        ("1_700_000_000", "must be RFC 3339"),
        ("", "must be RFC 3339"),
        ("2026-02-30T00:00:00Z", "must be RFC 3339"),
        ("2026-W05-1", "must be RFC 3339"),
        ([1], "must be RFC 3339"),
    ],
)
def test_what_is_no_time_in_seconds_is_refused_and_nothing_is_guessed(given_time, says):
    """Milliseconds are refused rather than guessed; the message says so and names the field."""
    refusal = only_refusal(EventIn, {**EVENT, "timestamp": given_time})
    assert refusal.field == "timestamp"
    assert refusal.message.startswith("timestamp: ")
    assert says in refusal.message
    assert len(refusal.message) < 250


@given(
    st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=st.timezones() | st.none())  # noqa: DTZ001
)
def test_times_round_trip_to_the_microsecond(moment):
    """An RFC 3339 text of any zone gives the instant it names, and the instant gives itself."""
    seconds = unix_seconds(moment.isoformat())
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert abs(datetime.fromtimestamp(seconds, UTC) - aware) <= timedelta(microseconds=1)
    assert unix_seconds(seconds) == seconds
    assert unix_seconds(repr(seconds)) == seconds


@given(any_text())
def test_any_string_of_up_to_128_bytes_without_control_characters_is_an_id(text):
    """Slashes, emoji, quotes, blanks: an id is refused only when empty, too long or with control characters."""
    spelled = canonical(text)
    fine = 1 <= len(spelled.encode()) <= 128 and not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in spelled)
    good, refused = validate_each(EventIn, [{**EVENT, "user_id": text}])
    assert bool(good) == fine
    assert [one.field for one in refused] == [] if fine else ["user_id"]
    if fine:
        assert good[0][1].user_id == spelled


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x" * 129, "at most 128"),
        ("é" * 65, "130 bytes"),
        ("", "is empty"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\ud800", "surrogate"),
        (7, "must be a string, not 7"),
        (None, "must be a string, not None"),
    ],
)
def test_a_bad_id_is_refused_with_its_reason(text, says):
    """Length is counted in bytes; numbers are not silently turned into text over HTTP."""
    refusal = only_refusal(ItemIn, {**ITEM, "item_id": text})
    assert refusal.field == "item_id"
    assert says in refusal.message
    assert "\n" not in refusal.message
    assert "\x00" not in refusal.message


def test_one_bad_element_does_not_sink_the_rest():
    """The good keep their positions, each bad one is named with its index, in the order of the list."""
    raw = [EVENT, {**EVENT, "value": "5"}, 17, {**EVENT, "event_id": "e2"}, {"event_id": "e3"}]
    good, refused = validate_each(EventIn, raw)
    assert [(index, event.event_id) for index, event in good] == [(0, "e1"), (3, "e2")]
    assert refused == [
        Refused(1, "value", "bad_input", "value: must be a finite number, not '5'"),
        Refused(2, None, "bad_input", "must be an object with named fields, not 17"),
        Refused(4, "user_id", "missing", "user_id: is missing"),
    ]


def test_a_check_refuses_and_replaces_what_is_well_formed():
    """Refusals of the two stages come in one list, sorted by index."""

    def check(event):
        if event.item_id == "banned":
            raise BadInput("item_id: banned", field="item_id", code="banned")
        return event.model_copy(update={"value": 1.0})

    raw = [{**EVENT, "item_id": "banned"}, {}, EVENT, {**EVENT, "item_id": "banned"}]
    good, refused = validate_each(EventIn, raw, check)
    assert [(index, event.value) for index, event in good] == [(2, 1.0)]
    assert [(one.index, one.code) for one in refused] == [(0, "banned"), (1, "missing"), (3, "banned")]


def test_an_empty_list_is_fine():
    """No elements, no refusals."""
    assert validate_each(ItemIn, []) == ([], [])


def test_unknown_fields_are_refused_and_the_known_ones_named():
    """A misspelt field is noticed at once."""
    refusal = only_refusal(EventIn, {**EVENT, "time": 3})
    assert (refusal.field, refusal.code) == ("time", "unknown_field")
    assert "timestamp" in refusal.message


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "4", [4], 10**400])
def test_a_value_is_a_finite_number(value):
    """Booleans and numerals are no numbers."""
    assert only_refusal(EventIn, {**EVENT, "value": value}).field == "value"


def test_an_item_needs_a_title_or_a_text():
    """Blanks say nothing, either one is enough."""
    for raw in ({"item_id": "i"}, {"item_id": "i", "title": " ", "text": "\n"}):
        refusal = only_refusal(ItemIn, raw)
        assert refusal.field is None
        assert "title and text are both empty" in refusal.message
    good, _ = validate_each(ItemIn, [{"item_id": "i", "text": "t"}, {"item_id": "i", "title": "t"}])
    assert len(good) == 2


def test_defaults_of_a_record():
    """What is left out is empty or None, and records cannot be changed."""
    item = ItemIn(item_id="i", title="t")
    assert (item.text, item.attributes, item.created_at) == ("", {}, None)
    event = EventIn(event_id="e", user_id="u", item_id="i", type="view")
    assert (event.value, event.timestamp, event.request_id) == (None, None, None)
    with pytest.raises(ValueError, match="frozen"):
        event.value = 3.0


def test_the_schema_says_what_is_accepted():
    """The published schema offers both ways to write a time."""
    shapes = EventIn.model_json_schema()["properties"]["timestamp"]["anyOf"]
    assert {"type": "number"} in shapes
    assert {"type": "string", "format": "date-time"} in shapes


def test_attributes_of_no_known_shape_are_refused_by_name():
    """Objects and lists of numbers fit no type at all."""
    for value in ({"a": 1}, [1], math.inf):
        refusal = only_refusal(ItemIn, {**ITEM, "attributes": {"year": value}})
        assert refusal.field == "attributes.year"
    assert only_refusal(ItemIn, {**ITEM, "attributes": [1]}).field == "attributes"


@pytest.mark.parametrize("kind", [ItemIn, EventIn])
def test_a_string_that_utf8_cannot_carry_is_refused_in_every_field(kind):
    """As records of files and of calls: by field, in words that can be written, and without its neighbours."""
    half, good = "half an emoji \ud83d", ITEM if kind is ItemIn else EVENT
    fields = [name for name in kind.model_fields if name != "attributes"]
    raw = [good, *({**good, name: half} for name in fields), {**good, half: 1}]
    places = [*fields, None]
    if kind is ItemIn:
        raw += [{**good, "attributes": {name: half}} for name in DECLARED]
        raw += [{**good, "attributes": {"tags": ["a", half]}}, {**good, "attributes": {half: 1}}]
        places += [*(f"attributes.{name}" for name in DECLARED), "attributes.tags", "attributes.half an emoji \\ud83d"]
    taken, refused = validate_each(kind, raw)
    assert [index for index, _ in taken] == [0]
    assert [one.field for one in refused] == places
    for one in refused:
        f"{one.field} {one.message}".encode()


def test_an_object_of_many_fields_is_not_looked_at():
    """A thousand unknown fields are one refusal, and its neighbours are taken at their places."""
    many = {**EVENT, **{f"f{n}": 1 for n in range(1000)}}
    taken, refused = validate_each(EventIn, [many, EVENT, {}, many, EVENT])
    assert [index for index, _ in taken] == [1, 4]
    assert [(one.index, one.field) for one in refused] == [(0, None), (2, "event_id"), (3, None)]
    assert "has 1005 fields; the fields are event_id" in refused[0].message


def test_messages_stay_short():
    """However many names are declared."""
    with pytest.raises(BadInput) as wrong:
        check_attributes({"colour": 1}, {f"attribute_{n}": "number" for n in range(500)})
    assert len(str(wrong.value)) < 400
    assert "more" in str(wrong.value)
