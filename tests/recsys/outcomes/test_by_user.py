"""Sums of each user in each variant, from the files of the log."""

from __future__ import annotations

import math
import time
from functools import partial

import pytest

from recsys.config.experiments import Experiment
from recsys.datatypes import Interaction
from recsys.experiments.metrics import before_of, users_of
from recsys.experiments.other_orders import other_temperature
from recsys.experiments.verdict import judged, preferred
from recsys.outcomes.by_user import by_user
from recsys.outcomes.drawn_places import first_places
from recsys.outcomes.joining import Question
from recsys.outcomes.log_files import LogFiles
from recsys.state.slate_log import Entry, SlateLog
from recsys.statistics.intervals import Estimate, Refusal
from tests.support import slate_log
from tests.support.slate_log import collect

NOW = time.time()
"""The files of the log lie by the time at which Redis took them."""
ROLES = {"click": "click", "buy": "conversion"}
QUESTION = Question(NOW - 10, NOW + 1000, (), 3600.0, ROLES)
ITEMS = ["a", "b", "c", "d"]
answer = partial(slate_log.answer, at=NOW)

pytestmark = pytest.mark.usefixtures("short_slots")


def click(request_id: str, item: str, user: str, kind: str = "click", value: float | None = None) -> Interaction:
    return Interaction(f"{request_id}-{item}-{kind}", user, item, kind, NOW + 1, value, request_id)


@pytest.fixture
async def files(redis, tmp_path):
    """A log that `write` fills."""
    log, own = SlateLog(redis, most=100_000, token_s=3600), LogFiles(tmp_path / "log")
    number = 0

    async def write(answers, events):
        nonlocal number
        number += 1
        await log.write("w", number, [Entry.of(answers)], 0, NOW)
        if events:
            await log.tell(events)
        await collect(redis, own)
        return own

    return write


async def test_sums_by_user_and_variant(files):
    """Clicks, answers with a click, conversions and values; answers of nobody and of another scenario are left out."""
    log = await files(
        [
            answer("1", ITEMS, "anna", variant="x/a"),
            answer("2", ITEMS, "anna", variant="x/a"),
            answer("3", ITEMS, "ben", variant="x/b"),
            answer("4", ITEMS, None, variant="x/b"),
            answer("5", ITEMS, "ben", variant=""),
            answer("6", ITEMS, "ben", variant="x/b", scenario="other"),
        ],
        [
            click("1", "a", "anna"),
            click("1", "b", "anna"),
            click("3", "d", "ben"),
            click("3", "d", "ben", "buy", 5.0),
            click("5", "a", "ben"),
        ],
    )
    rows = by_user(log, QUESTION, "home", ["x/a", "x/b"])
    told = {
        name: {place: values[rows.variants == place].sum() for place in (0, 1)} for name, values in rows.sums.items()
    }
    assert told["answers"] == {0: 2, 1: 1}
    assert told["items"] == {0: 8, 1: 4}
    assert told["clicks"] == {0: 2, 1: 1}
    assert told["answers_with_click"] == {0: 1, 1: 1}
    assert told["answers_with_conversion"] == {0: 0, 1: 1}
    assert told["value"] == {0: 0, 1: 5.0}
    assert rows.user_count == 2
    assert users_of(rows, "click_through", 0).ratio == pytest.approx(2 / 8)
    everything = by_user(log, QUESTION, "home")
    assert everything.sums["answers"].sum() == 4
    assert sorted(before_of(rows, everything, "click_through").values()) == pytest.approx([0.25, 0.25])


async def test_a_split_is_judged(files):
    """300 users a side, of whom one in two and one in four clicks: better, and the interval says by how much."""
    answers, events = [], []
    for n in range(600):
        variant, user = ("x/b", f"b{n}") if n % 2 else ("x/a", f"a{n}")
        answers.append(answer(str(n), ITEMS, user, variant=variant))
        if n % (4 if n % 2 else 8) == (n % 2):
            events.append(click(str(n), "a", user))
    log = await files(answers, events)
    experiment = Experiment.model_validate({"name": "x", "variants": {"a": {}, "b": {}}, "effect": 0.3})
    told = judged(experiment, by_user(log, QUESTION, "home", ["x/a", "x/b"]), (NOW - 10, NOW + 1000))
    [one] = told.compared
    assert (one.variant, one.verdict) == ("b", "better")
    assert one.difference is not None
    assert one.difference.holds(0.125 - 0.0625)
    assert told.sample_ratio_p == pytest.approx(1.0)
    assert one.looks
    lopsided = Experiment.model_validate({"name": "x", "variants": {"a": {"weight": 9}, "b": {}}})
    [one] = judged(lopsided, by_user(log, QUESTION, "home", ["x/a", "x/b"]), (NOW - 10, NOW + 1000)).compared
    assert (one.verdict, one.difference) == ("mismatch", None)


async def test_an_interleaving_is_judged(files):
    """Clicks on the items of the second team: the log carries the teams all the way."""
    answers, events = [], []
    for n in range(150):
        answers.append(answer(str(n), ITEMS, f"u{n}", variant="x/interleaved", teams=(2, 0, 1, 1)))
        events.append(click(str(n), "b" if n % 5 == 0 else "c", f"u{n}"))
        events.append(click(str(n), "a", f"u{n}"))
    log = await files(answers, events)
    experiment = Experiment.model_validate({"name": "x", "kind": "interleaving", "variants": {"a": {}, "b": {}}})
    rows = by_user(log, QUESTION, "home", ["x/interleaved"])
    assert (rows.sums["a"].sum(), rows.sums["b"].sum(), rows.sums["clicks"].sum()) == (30, 120, 300)
    [one] = preferred(experiment, rows, (NOW - 10, NOW + 1000)).compared
    assert one.verdict == "better"
    assert one.difference is not None
    assert one.difference.value == pytest.approx(0.3)


async def test_another_temperature_is_judged_by_what_was_drawn(files):
    """Two items, drawn with 0.5 each; the one of the better score is clicked on by all: the best first brings 1."""
    answers, events = [], []
    for n in range(800):
        better_first = n % 2 == 0
        items = ["a", "b"] if better_first else ["b", "a"]
        one = answer(str(n), items, f"u{n}", propensities=(0.5, 1.0), scores=(2.0, 1.0) if better_first else (1.0, 2.0))
        answers.append(one)
        if better_first:
            events.append(click(str(n), "a", f"u{n}"))
    answers.append(answer("interleaved", ITEMS, "u", propensities=(math.nan,) * 4))
    answers.append(answer("plain", ITEMS, "u"))
    log = await files(answers, events)
    places = first_places(log, QUESTION, "home")
    assert len(places.clicked) == 800
    told = other_temperature(places, 0.0)
    for name, estimate in told.items():
        assert isinstance(estimate, Estimate), (name, estimate)
        assert estimate.value == pytest.approx(1.0, abs=0.05), name
    assert all(
        isinstance(one, Refusal) for one in other_temperature(first_places(log, QUESTION, "search"), 0.0).values()
    )
