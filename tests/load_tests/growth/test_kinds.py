"""What is told of kinds of requests that come together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from load_tests.comparison.workload import Workload
from load_tests.growth import kinds, mixed_load
from load_tests.growth.mixed_load import MIX, Latencies, Mix


class Load(NamedTuple):
    """In place of wrk: answers take two milliseconds, and one more for each other kind that came at the same time."""

    kind: str
    pause_ms: float
    clients: int


def test_rows_are_of_what_came_together(monkeypatch, capsys):
    """Each kind comes as often with others as alone: its pauses are shorter by what the answers take."""
    began: list[tuple[str, ...]] = []
    under_way: list[Load] = []

    def start(_: Mix, seconds: int, kind: str, clients: int, pause_ms: float) -> Load:
        under_way.append(Load(kind, pause_ms, clients))
        return under_way[-1]

    def answer(load: Load, seconds: int) -> Latencies:
        together = tuple(one.kind for one in under_way)
        if load is under_way[-1]:
            began.append(together)
            under_way.clear()
        ms = 1.0 + len(together)
        requests = round(seconds * 1000 * load.clients / (ms + load.pause_ms))
        return Latencies(float(seconds), 0, np.array([ms]), np.array([requests]))

    monkeypatch.setattr(Mix, "start", start)
    monkeypatch.setattr(mixed_load, "answer", answer)
    rows = kinds.measured(Mix("http://nowhere", Workload()), 1000.0)
    assert began[:5] == [
        ("recommend",), ("recommend", "event"), ("recommend", "write"), ("recommend", "similar"), tuple(MIX),
    ]  # fmt: skip
    assert began == began[:5] * 4
    kinds.show(rows)
    told = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in told if line] == [
        ["recommendations alone", "830", "2.0", "2.0", "2.0", "0"],
        ["with 100 events", "930", "3.0", "3.0", "3.0", "0"],
        ["with 20 items written", "850", "3.0", "3.0", "3.0", "0"],
        ["with 50 similar items", "880", "3.0", "3.0", "3.0", "0"],
        ["all of them", "1,000", "5.0", "5.0", "5.0", "0"],
    ]
