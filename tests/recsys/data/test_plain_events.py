"""Events that need no correction are taken by a shorter way, with the same result."""

from __future__ import annotations

import time
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.scenarios import EventType
from recsys.config.serving import Limits
from recsys.data.plain_events import file_events, stated_events
from recsys.data.records import EventIn, StatedEvent, validate_each
from recsys.data.validation import check_event, check_outcome
from recsys.datatypes import Interaction
from tests.support.any_text import any_text

TYPES = {"like": EventType(weight=1.0), "impression": EventType(weight=0.0, kept=False)}
LIMITS = Limits()
NOW = 1_760_000_000.0

ids = st.one_of(
    st.sampled_from(["u1", "u2", "sku 7", " u1", "u1 ", "", "Jos\u00e9", "Jose\u0301", "a\tb", "a\x7fb", "\ud800"]),
    st.sampled_from(["x" * 128, "x" * 129, "é" * 64, "é" * 65]),
    any_text(max_size=5),
    st.integers(),
    st.none(),
)
times = st.one_of(
    st.sampled_from(
        [NOW, NOW + LIMITS.clock_skew_s, NOW + LIMITS.clock_skew_s + 1, 1e8, 1e8 - 1, 2023, 45092, 20230615]
    ),
    st.sampled_from([0, -1, 1e12, 10**400, True, "2025-01-31T12:00:00Z", "1760000000", "yesterday", None]),
)
values = st.sampled_from([None, 0, 3, 4.5, -1e308, 10**400, True, "5"])
types = st.sampled_from(["like", "impression", "buy", "", 3, None])
names = ("event_id", "user_id", "item_id", "type", "timestamp", "value", "request_id", "more")
events = st.fixed_dictionaries(
    {"event_id": ids, "user_id": ids, "item_id": ids, "type": types},
    optional={"timestamp": times, "value": values, "request_id": ids, "more": values, "\ud83d": values},
)
plain = st.builds(
    dict,
    event_id=st.integers(0, 99).map(str),
    user_id=st.sampled_from(["u1", "José", " u2"]),
    item_id=st.just("i"),
    type=st.sampled_from(["like", "impression"]),
    timestamp=times,
)
lists = st.lists(st.one_of(plain, events, st.sampled_from([None, 3, [], {}])), max_size=12)


def as_model(record: EventIn, now: float) -> Interaction:
    fields = record.model_dump()
    return Interaction(**fields | {"timestamp": now if record.timestamp is None else record.timestamp})


@settings(max_examples=80)
@given(lists)
def test_what_callers_state_is_read_as_the_model_reads_it(raw: list[Any]) -> None:
    """The same events, at the same places, and the same refusals in the same words."""
    good, refused = validate_each(StatedEvent, raw, lambda e: check_outcome(check_event(e, TYPES, LIMITS, NOW), TYPES))
    read = stated_events(raw, TYPES, LIMITS, NOW)
    assert read.events == [as_model(e, NOW + place * 1e-6) for place, e in good]
    assert list(read.places) == [place for place, _ in good]
    assert read.untimed == {n for n, (_, e) in enumerate(good) if e.timestamp is None}
    assert read.refused == refused


@settings(max_examples=80)
@given(lists)
def test_events_of_files_are_read_as_the_model_reads_them(raw: list[Any]) -> None:
    good, refused = validate_each(EventIn, raw, lambda e: check_event(e, TYPES, LIMITS, NOW))
    read = file_events(raw, TYPES, LIMITS, NOW)
    assert read.events == [as_model(e, NOW + place * 1e-6) for place, e in good]
    assert read.refused == refused


def test_a_bulk_of_plain_events_goes_past_the_model(monkeypatch) -> None:
    """So does one in which a few have to be corrected: only those take the long way."""
    asked: list[int] = []

    def counting(kind: Any, some: list[object], check: Any) -> Any:
        asked.append(len(some))
        return validate_each(kind, some, check)

    monkeypatch.setattr("recsys.data.plain_events.validate_each", counting)
    raw = [{"event_id": f"e{n}", "user_id": "u", "item_id": "i", "type": "like", "timestamp": NOW} for n in range(100)]
    raw = orjson.loads(orjson.dumps(raw))
    assert len(stated_events(raw, TYPES, LIMITS, time.time()).events) == 100
    assert asked == []
    raw[7]["user_id"] = "José"
    assert [e.user_id for e in file_events(raw, TYPES, LIMITS, NOW).events].count("José") == 1
    assert asked == [1]
