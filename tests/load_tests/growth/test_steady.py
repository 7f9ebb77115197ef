"""What is told of a long run."""

from __future__ import annotations

from types import SimpleNamespace

import psutil

from load_tests.growth import steady

TOLD = {
    "peak": {"rps": 1000.0},
    "wanted_rps": 700.0,
    "steady": {"rps": 699.0, "p50_ms": 2.0, "p99_ms": 5.0, "p999_ms": 9.0, "max_ms": 20.0, "errors": 0},
    "p999_over_p50": 4.5,
    "memory_mib": [100.0, 101.0],
    "memory_grew": 0.01,
    "ended": ["ray::ServeReplica:composer"],
    "began": [],
    "processes": [
        {"pid": 1, "title": "shard-0", "mib": [80.0, 81.0]},
        {"pid": 2, "title": "small", "mib": [1.0, 1.0]},
    ],
}


def test_the_memory_of_a_process_is_its_own():
    process = psutil.Process()
    title, mib = steady.memory(SimpleNamespace(processes=lambda: [process]))[process.pid]
    assert title
    assert mib > 1


def test_it_tells_who_ended_and_by_how_much_memory_grew(capsys):
    steady.show(TOLD)
    text = " ".join(capsys.readouterr().out.split())
    assert "4.5 x p50" in text
    assert "+1.0%" in text
    assert "ended: ['ray::ServeReplica:composer']; began: none" in text
    assert "shard-0" in text
    assert "small" not in text
