"""The report against a plain Python reading of docs/outcomes.md."""

from __future__ import annotations

import tempfile
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.outcomes.joining import DIMENSIONS, EARLY_S, Question, report
from recsys.outcomes.log_files import LogFiles, hour_of
from recsys.outcomes.measures import Measures
from recsys.outcomes.tables import answers_table, outcomes_table
from recsys.state.slate_columns import encode_answers, encode_outcome
from recsys.state.slate_stream import StreamEntry
from tests.support.slate_log import answer
from tests.support.world import event

DAY = 86_400.0
BEGIN = datetime(2026, 11, 27, tzinfo=UTC).timestamp()
ROLES = {"impression": "impression", "click": "click", "buy": "conversion"}
WINDOW_S = 3600.0


def question(**given):
    return Question(**({"start": BEGIN, "end": BEGIN + DAY, "by": (), "window_s": WINDOW_S, "roles": ROLES} | given))


def logged(files, answers=(), events=(), lost=0):
    """Write answers and events into files, each an entry of its own at its time."""
    for kind, make, encode, some, time_of in (
        ("answers", answers_table, lambda a: encode_answers([a]), answers, lambda a: a.at),
        ("outcomes", outcomes_table, encode_outcome, events, lambda e: e.timestamp),
    ):
        for n, one in enumerate(some):
            ms = round(time_of(one) * 1000)
            entry = StreamEntry(f"{ms}-{n:06}", 1, lost, bytes(8), encode(one))
            files.merge(kind, hour_of(ms), f"{ms // 10_000 * 10_000}.parquet", make([entry]))


def told(request_id, item, kind="click", after=1.0, value=None, **given):
    """An event `after` seconds after the answer at BEGIN + 1000."""
    return event("u", item, type=kind, timestamp=BEGIN + 1000 + after, request_id=request_id, value=value, **given)


def shown(request_id, items=("a", "b", "c"), at=1000.0, **given):
    return answer(request_id, items, at=BEGIN + at, **given)


@pytest.fixture
def files(tmp_path):
    return LogFiles(tmp_path / "log")


def test_an_empty_log_is_an_empty_report(files):
    """Ratios have nothing to divide by."""
    found = report(files, question(by=("scenario",)))
    assert (found.groups, found.total) == ((), Measures(0, 0, 0, 0, 0, 0, 0, 0, 0.0))
    assert found.total.click_through is found.total.value_per_answer is None


def test_what_is_seen_clicked_and_bought_is_counted(files):
    """Items once each, values by event, ratios of both; by position and by source."""
    logged(
        files,
        [shown("r1"), shown("r2", ("a",), scenario="search"), shown("r3", ())],
        [
            *(told("r1", item, "impression") for item in "ab"), told("r1", "a"), told("r1", "a"), told("r1", "c"),
            told("r1", "a", "buy", value=10.0), told("r1", "a", "buy", value=5.5), told("r2", "a", "like"),
        ],
    )  # fmt: skip
    found = report(files, question(by=("position",)))
    assert found.total == Measures(3, 4, 2, 2, 1, 1, 1, 1, 15.5)
    assert {g.key[0]: (g.measures.answers, g.measures.items, g.measures.clicks) for g in found.groups} == {
        0: (1, 0, 0), 1: (2, 2, 1), 2: (1, 1, 0), 3: (1, 1, 1),
    }  # fmt: skip
    assert (found.total.click_through, found.total.click_through_seen) == (0.5, 0.5)
    assert (found.total.answer_click_through, found.total.conversion) == (1 / 3, 1 / 3)
    assert found.total.value_per_answer == pytest.approx(15.5 / 3)
    by_source = {g.key: g.measures for g in report(files, question(by=("scenario", "source"))).groups}
    assert by_source["home", "popular"].items == 2
    assert by_source["home", "similar"].clicks == 1
    assert by_source["home", None].answers == 1
    assert by_source["search", "similar"].clicks == 0
    assert (found.untimely, found.elsewhere, found.unknown, found.repeated_answers) == (0, 0, 0, 0)


def test_doubled_events_count_once_and_the_last_of_repeated_answers_counts(files):
    """An impression has no history that would know it. An id with another item or type is another event."""
    twice = [
        told("r1", "b", "buy", value=3.0, event_id="e"), told("r1", "y", "buy", value=2.0, event_id="e"),
        told("r1", "b", event_id="e"), told("r1", "b", "impression", event_id="i"),
    ]  # fmt: skip
    logged(files, [shown("r1", ("a", "x")), shown("r1", ("b", "y"), at=1000.5)], [*twice, *twice])
    found = report(files, question(by=("position",)))
    assert found.total == Measures(1, 2, 1, 1, 1, 1, 2, 1, 5.0)
    assert found.repeated_answers == 1


@pytest.mark.parametrize(
    ("after", "counts"),
    [(-EARLY_S - 1, False), (-EARLY_S, True), (0.0, True), (WINDOW_S, True), (WINDOW_S + 0.001, False)],
)
def test_the_window_of_attribution(files, after, counts):
    """From a minute before the answer to `window_s` after it, both included."""
    logged(files, [shown("r")], [told("r", "a", after=after)])
    found = report(files, question())
    assert (found.total.clicks, found.untimely) == (int(counts), int(not counts))
    assert report(files, question(window_s=2 * WINDOW_S)).total.clicks == (after >= -EARLY_S)


def test_an_event_that_arrives_days_late_counts_in_the_period_of_its_answer(files):
    """By its own time; the files of later days are read for it."""
    logged(files, [shown("r")])
    late = told("r", "a")
    taken_ms = round((BEGIN + 5 * DAY) * 1000)
    entry = StreamEntry(f"{taken_ms}-0", 1, 0, bytes(8), encode_outcome(late))
    files.merge("outcomes", hour_of(taken_ms), f"{taken_ms}.parquet", outcomes_table([entry]))
    assert report(files, question()).total.clicks == 1
    assert report(files, question(start=BEGIN + 5 * DAY, end=BEGIN + 6 * DAY)).total.answers == 0


def test_events_without_an_answer_or_an_item_of_it_are_told_and_not_counted(files):
    """An answer of the day before the period is in the log all the same."""
    logged(files, [shown("r"), shown("before", at=-60.0)], [
        told("r", "z"), told("never", "a"), told("before", "a", after=-1000.0), told("r", "a", "view"),
    ])  # fmt: skip
    found = report(files, question())
    assert (found.total.clicks, found.elsewhere, found.unknown) == (0, 1, 1)


def test_what_was_lost_is_told_in_the_period_in_which_it_became_known(files):
    logged(files, [shown("r")], [told("r", "a")], lost=7)
    found = report(files, question())
    assert (found.lost_answers, found.lost_outcomes) == (7, 7)
    assert report(files, question(start=BEGIN + 2000)).lost_answers == 0


def test_a_report_of_an_object_store_is_that_of_a_folder():
    """DuckDB reads through the same fsspec file system."""
    files = LogFiles(f"memory://{uuid.uuid4().hex}/log")
    logged(files, [shown("r")], [told("r", "b")])
    found = report(files, question(by=DIMENSIONS))
    assert [g.measures.clicks for g in found.groups] == [0, 1, 0]
    places = ((1, "similar"), (2, "popular"), (3, "popular"))
    assert [g.key for g in found.groups] == [("home", "2026-11-27", *place, "v1", "") for place in places]


ITEMS = ["a", "b", "c"]
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r2", "r3", "r4"]),
        st.lists(st.sampled_from(ITEMS), unique=True),
        st.integers(-10, int(DAY) + 10),
        st.sampled_from(["home", "search"]),
        st.sampled_from(["v1", "v2"]),
    ),
    max_size=6,
    unique_by=lambda a: a[2],
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r2", "r3", "r4", "r5"]),
        st.sampled_from(["e1", "e2", "e3"]),
        st.sampled_from(ITEMS),
        st.sampled_from([*ROLES, "view"]),
        st.integers(-100, int(DAY + 2 * WINDOW_S)),
        st.sampled_from([None, 1.0, 2.5]),
    ),
    max_size=12,
    unique_by=lambda e: (e[0], e[1], e[2], e[3]),
)


def predicted(answers, events, by):
    """By the words of docs/outcomes.md."""
    last = {}
    for request_id, items, at, scenario, version in sorted(answers, key=lambda a: a[2]):
        if 0 <= at < DAY:
            last[request_id] = (items, at, scenario, version)
    groups = defaultdict(lambda: defaultdict(set))
    values = defaultdict(float)
    for request_id, (items, at, scenario, version) in last.items():
        for position, item in [(n, i) for n, i in enumerate(items, 1)] or [(0, None)]:
            named = {"scenario": scenario, "version": version, "position": position}
            group = groups[tuple(named[name] for name in by)]
            group["answers"].add(request_id)
            if item is None:
                continue
            group["items"].add((request_id, item))
            for r, _, i, kind, told_at, value in events:
                if (r, i) == (request_id, item) and -EARLY_S <= told_at - at <= WINDOW_S and kind in ROLES:
                    group[ROLES[kind]].add((request_id, item))
                    group[f"answers of {ROLES[kind]}"].add(request_id)
                    if ROLES[kind] == "conversion":
                        values[tuple(named[name] for name in by)] += value or 0.0
    return {
        key: Measures(
            len(g["answers"]), len(g["items"]), len(g["impression"]), len(g["click"]),
            len(g["click"] & g["impression"]), len(g["answers of click"]), len(g["conversion"]),
            len(g["answers of conversion"]), values[key],
        )
        for key, g in groups.items()
    }  # fmt: skip


@settings(max_examples=25)
@given(ANSWERS, EVENTS, st.sampled_from([("scenario",), ("position", "version"), ("version",)]))
def test_the_report_is_what_the_rules_say(answers, events, by):
    """Repeated answers, events of any time about any item of any answer, by several dimensions."""
    with tempfile.TemporaryDirectory() as folder:
        files = LogFiles(Path(folder))
        logged(
            files,
            [answer(r, items, at=BEGIN + at, scenario=s, version=v) for r, items, at, s, v in answers],
            [
                event("u", item, event_id=e, type=kind, timestamp=BEGIN + at, value=value, request_id=r)
                for r, e, item, kind, at, value in events
            ],
        )
        found = report(files, question(by=by))
    assert {group.key: group.measures for group in found.groups} == predicted(answers, events, by)
