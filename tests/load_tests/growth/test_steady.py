"""What is told of a long run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psutil

from load_tests.comparison.workload import LIKES, Workload
from load_tests.growth import steady
from load_tests.growth.mixed_load import Latencies, write_likes

SAID = {"rps": 699.0, "p50_ms": 2.0, "p99_ms": 5.0, "p999_ms": 9.0, "max_ms": 20.0, "errors": 0}
TOLD = {
    "peak": {"rps": 1000.0},
    "wanted_rps": 700.0,
    "steady": SAID,
    "by_kind": {"recommend": {**SAID, "p999_ms": 7.5}, "write": {**SAID, "p99_ms": 8.25}},
    "redis": {"mib": [50.0, 60.0], "items_logged": [100, 2000], "log_mib": [0.2, 4.0]},
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
    assert "2,000 take 4.0" in text
    assert "7.5" in text
    assert "8.25" in text


def latencies(pairs: dict[float, int], seconds: float = 10.0, errors: int = 0) -> Latencies:
    return Latencies(seconds, errors, np.array(list(pairs), float), np.array(list(pairs.values())))


def test_percentiles_of_all_kinds_together():
    """Of requests and not of kinds: two slow ones among a thousand are its 99.9th percentile."""
    both = Latencies.together([latencies({1.0: 900, 2.0: 98}), latencies({2.0: 1, 50.0: 2}, 9.0, 1)])
    assert both.requests == 1001
    assert both.summary() == {"rps": 100.1, "p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 50.0, "max_ms": 50.0, "errors": 1}
    assert both.summary(20.0)["rps"] == 50.0
    assert latencies({}).at(50) == 0.0


def test_likes_to_come_are_of_the_same_taste_and_others_than_before(tmp_path):
    work = Workload(items=4000, dimension=8, users=30, clusters=40)
    write_likes(work, tmp_path / "likes.txt")
    lines = [line.split() for line in (tmp_path / "likes.txt").read_text().splitlines()]
    items = np.array([int(item.removeprefix("item-")) for _, item in lines]).reshape(work.users, LIKES)
    assert [user for user, _ in lines[::LIKES]] == [str(1 + user) for user in range(work.users)]
    homes = [np.bincount(work.own[liked]).argmax() for liked in work.likes]
    for home, was, to_come in zip(homes, work.likes, items, strict=True):
        assert np.bincount(work.own[to_come]).argmax() == home
        assert set(was.tolist()) != set(to_come.tolist())
