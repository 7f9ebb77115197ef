"""What the faults' ledger holds the platform to."""

from __future__ import annotations

import time

from load_tests.chaos.ledger import Ledger


def test_what_may_be_lost_is_asked_for_no_more() -> None:
    """And what was acknowledged before still is."""
    ledger = Ledger()
    ledger.liked("u", "before", "1")
    ledger.upserted("film", "old")
    ledger.upserted("gone", "there")
    since = time.monotonic()
    ledger.liked("u", "after", "2")
    ledger.upserted("film", "new")
    ledger.deleted("gone", visible=True)
    assert ledger.forgive(since) == 3
    slate = {"items": [{"item_id": i} for i in ("2", "gone", "3")], "degraded": [], "index_version": "v"}
    assert ledger.breaks(slate, 3, time.monotonic(), "u") == []
    assert ledger.lost({"u": ["before"]}, {"film": "old", "gone": "there"}) == []
    assert ledger.lost({"u": []}, {"film": "old", "gone": "there"}) == ["event before of user u"]
    slate["items"][0]["item_id"] = "1"
    assert ledger.breaks(slate, 3, time.monotonic(), "u") == ["1 was seen by user u"]
