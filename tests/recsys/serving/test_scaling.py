"""Replicas follow the load: the maths, checked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.serving.load import LoadMeter
from recsys.serving.scaling import Load, Targets, wanted_replicas

TARGETS = Targets(busy=0.6, queue_age_s=0.2, batch_fill=0.9)


def load(busy: float, queue_age_s: float = 0.0, batch_fill: float = 0.0) -> Load:
    return Load(busy, queue_age_s, batch_fill)


@pytest.mark.parametrize(
    ("loads", "wanted"),
    [
        ([load(0.6)], 1),  # as it should be
        ([load(0.65)], 1),  # within a tenth of it
        ([load(0.9)], 1.5),
        ([load(0.9), load(0.9)], 3),
        ([load(1.0), load(0.2)], 2),  # the mean is as it should be
        ([load(0.3), load(0.3), load(0.3), load(0.3)], 3),  # two would do, but one at a time
        ([load(0.0)] * 4, 3),
        ([load(0.5, queue_age_s=0.6)], 3),  # waits three times as long as it may
        ([load(0.5, queue_age_s=60.0)], 4),  # how much too long says little
        ([load(0.55, batch_fill=1.0)], 10 / 9),
        ([load(0.2, queue_age_s=0.6)], 1 / 3),  # an idle one waits for something else
        ([load(0.3, queue_age_s=0.1)], 0.5),  # a short queue keeps nobody
    ],
)
def test_replicas_by_load(loads: list[Load], wanted: float) -> None:
    assert wanted_replicas(loads, len(loads), TARGETS) == pytest.approx(max(wanted, len(loads) - 1))


def test_nothing_known_changes_nothing() -> None:
    assert wanted_replicas([], 3, TARGETS) == 3


LOADS = st.builds(load, st.floats(0, 1), st.floats(0, 100), st.floats(0, 1))


@given(st.lists(LOADS, min_size=1, max_size=20))
def test_never_below_one_less_and_never_above_four_times(loads: list[Load]) -> None:
    assert len(loads) - 1 <= wanted_replicas(loads, len(loads), TARGETS) <= 4 * len(loads)


@given(st.lists(LOADS, min_size=1, max_size=8), st.floats(0, 1))
def test_more_work_never_wants_fewer(loads: list[Load], more: float) -> None:
    busier = [Load(min(x.busy + more, 1.0), x.queue_age_s, x.batch_fill) for x in loads]
    assert wanted_replicas(busier, len(loads), TARGETS) >= wanted_replicas(loads, len(loads), TARGETS) - 1e-9


def test_the_meter_reads_what_was_done_since_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"monotonic": 100.0, "process_time": 5.0}
    monkeypatch.setattr("recsys.serving.load.time.monotonic", lambda: clock["monotonic"])
    monkeypatch.setattr("recsys.serving.load.time.process_time", lambda: clock["process_time"])
    meter = LoadMeter(lambda: 0.25)
    meter.batch(0.5, 1.0)
    meter.batch(0.3, 0.5)
    meter.begin()  # so far it was starting
    assert meter.load == Load(0.0, 0.0, 0.0)
    meter.batch(0.5, 1.0)
    meter.batch(0.3, 0.5)
    clock["monotonic"], clock["process_time"] = 101.0, 5.6
    assert meter.read() == Load(pytest.approx(0.8), 0.25, 0.75)  # its thread worked longer than it had a core
    clock["monotonic"], clock["process_time"] = 103.0, 6.6
    assert meter.read() == Load(0.5, 0.25, 0.0)  # work outside of batches counts as well
    assert meter.load == Load(0.5, 0.25, 0.0)
