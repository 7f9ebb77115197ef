"""Loops in the background: what a step raises does not end them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

import recsys
from recsys.errors import Unavailable
from recsys.serving.background import Background
from tests.support.world import eventually


class Counting:
    """Telemetry that keeps the counters."""

    def __init__(self) -> None:
        self.sums: Counter[tuple[str, ...]] = Counter()

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        self.sums[(name, *labels.values())] += amount

    def set(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...
    def flush(self) -> None: ...


class FromElsewhere(Exception):
    """As botocore's errors are: of no family that ours knows."""


@pytest.mark.parametrize(
    "error",
    [KeyError("v1"), FromElsewhere(), OSError("disk"), RedisConnectionError("gone"), Unavailable("no encoder"),
     asyncio.CancelledError(), RecursionError(), ExceptionGroup("two", [ValueError(), OSError()])],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
async def test_a_loop_survives_whatever_a_step_raises(error, caplog):
    """It counts, it is told, and the step is done again; the loop is healthy all the time."""
    told, turns = Counting(), []

    async def step() -> None:
        turns.append(len(turns))
        if len(turns) == 2:
            raise error

    background = Background(told)
    background.start("work", step, 0.01)
    assert await eventually(lambda: len(turns) > 4)
    assert background.healthy()
    assert told.sums == {("recsys_background_errors_total", "work"): 1}
    assert "work failed (1 in a row)" in caplog.text
    await background.stop()
    assert not background.healthy()


async def test_a_step_that_fails_on_is_not_told_each_time(caplog, monkeypatch):
    """Each failure counts; the log has the first, the second, the fourth."""
    monkeypatch.setattr("recsys.serving.background.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("recsys.serving.background.LONGEST_WAIT_S", 0.0)
    told = Counting()

    def step() -> None:
        raise OSError("away")

    background = Background(told)
    background.start("work", step, 0.0)
    assert await eventually(lambda: told.sums.total() >= 20)
    await background.stop()
    assert len(caplog.records) == int(told.sums.total()).bit_length()


async def test_a_loop_that_is_ended_ends(caplog):
    """Also where a step swallows the cancellation, as redis does before Python 3.12."""

    async def deaf() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return

    background = Background()
    background.start("deaf", deaf, 0.0)
    background.start("other", deaf, 60.0)
    await asyncio.sleep(0.05)
    assert background.running == {"deaf", "other"}
    async with asyncio.timeout(60):
        await background.stop()
    assert background.running == set()


async def test_what_follows_a_colon_in_a_name_is_no_label(caplog):
    """Loops of versions are told apart in the log, and one label counts the failures of all versions."""
    told = Counting()

    def step() -> None:
        raise OSError("away")

    background = Background(told)
    for version in ("v1", "v2"):
        background.start(f"log:{version}", step, 60.0)
    assert await eventually(lambda: told.sums.total() >= 2)
    await background.stop()
    assert set(told.sums) == {("recsys_background_errors_total", "log")}
    assert {"log:v1 failed", "log:v2 failed"} == {r.getMessage().split(" (")[0] for r in caplog.records}


def test_there_is_one_kind_of_loop():
    """No module of the domain makes an endless loop of its own, which would have to survive everything by itself."""
    sources = {p.name: p.read_text() for p in Path(recsys.__file__).parent.rglob("*.py")}
    endless = {name for name, text in sources.items() if "while True" in text and "create_task" in text}
    assert endless == {"key_changes.py"}  # it lasts as long as a copy does, which looks at how it ended


async def test_a_pause_that_becomes_shorter_counts_while_the_loop_waits():
    """A setting that changes takes effect now, and not when the pause of before is over."""
    turns: list[int] = []
    pauses = [3600.0]
    background = Background()
    background.start("work", lambda: turns.append(len(turns)), lambda: pauses[0])
    assert await eventually(lambda: len(turns) == 1)
    pauses[0] = 0.01
    assert await eventually(lambda: len(turns) > 3)
    await background.stop()
