"""From an answer of the real platform to its report: composers, Redis and files, by the command and by HTTP."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from tests.support.live import Live, event, eventually

pytestmark = pytest.mark.cluster


def test_the_report_says_what_came_of_the_answers(live: Live) -> None:
    """Within half a minute, by the command as over HTTP."""
    start = time.time()
    slates = [live.json("GET", f"/v1/users/{user}/recommendations", k=5) for user in ("196", "186", "nobody-yet")]
    events: list[dict[str, Any]] = []
    for slate, user in zip(slates, ("196", "186", "nobody-yet"), strict=True):
        named = {"request_id": slate["request_id"]}
        first = slate["items"][0]["item_id"]
        events += [event(user, i["item_id"], type="impression", **named) for i in slate["items"][:3]]
        events.append(event(user, first, type="click", **named))
    bought = {"type": "purchase", "value": 8.5, "request_id": slates[0]["request_id"]}
    events.append(event("196", slates[0]["items"][0]["item_id"], **bought))
    assert live.json("POST", "/v1/events", {"events": events})["accepted"] == len(events)

    def report() -> dict[str, Any]:
        told = live.recsys("report", "--from", repr(start), "--by", "position,scenario", "--json")
        found: dict[str, Any] = orjson.loads(told)
        return found

    def complete() -> dict[str, Any] | None:
        found = report()
        return found if found["total"]["answers"] == 3 and found["total"]["conversions"] == 1 else None

    found = eventually(complete, every_s=0.5) or report()
    total = found["total"]
    counts = [total[name] for name in ("answers", "items", "impressions", "clicks", "conversions", "value")]
    assert counts == [3, 15, 9, 3, 1, 8.5]
    assert {(g["position"], g["scenario"]): g["clicks"] for g in found["groups"]} == {
        (place, "home"): 3 * (place == 1) for place in range(1, 6)
    }
    assert (found["unknown"], found["elsewhere"], found["untimely"], found["lost_answers"]) == (0, 0, 0, 0)
    asked = {"from": start, "to": found["end"], "by": "position,scenario"}
    assert live.json("GET", "/v1/metrics/outcomes", **asked) == {**found, "start": start}
    table = live.recsys("report", "--from", repr(start))
    assert "20.00%" in table
    assert "home" in table
