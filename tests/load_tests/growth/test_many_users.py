"""What users cost is measured with the platform's own writes."""

from __future__ import annotations

import asyncio

from load_tests.growth import many_users
from load_tests.growth.many_users import People, measure, server


def test_bytes_and_reads_of_some_users(monkeypatch):
    """All of a user's keys are there, of those that were written and of those that are copies."""
    monkeypatch.setattr(many_users, "READS", 20)
    with server([]) as url:
        told = asyncio.run(measure(People.random(400, 5, 16), url, written=150))
    assert (told["users"], told["written"]) == (400, 150)
    assert all(told["by_kind"][kind] > 0 for kind in ("events", "counted", "sequence", "profile"))
    assert told["bytes_a_user"] > sum(told["by_kind"].values()) / 2
    assert told["histories_p99_ms"] >= told["histories_p50_ms"] > 0
