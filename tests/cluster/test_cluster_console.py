"""What the console needs of the platform: its files, its stream through HAProxy, and versions switched over HTTP."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.support.live import Live, eventually

pytestmark = pytest.mark.cluster


def frame(live: Live) -> dict[str, Any]:
    """The first one of a new stream."""
    with live.http.stream("GET", "/v1/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        line = next(line for line in answer.iter_lines() if line.startswith("data: "))
    told: dict[str, Any] = orjson.loads(line.removeprefix("data: "))
    return told


def test_the_root_leads_to_the_console(live: Live) -> None:
    answer = live.http.get("/", follow_redirects=True)
    assert answer.url.path == "/console"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_the_stream_tells_of_every_deployment_and_replica(live: Live) -> None:
    def whole() -> bool:
        told = frame(live)
        deployments = {one["deployment"] for one in told["deployments"] or ()}
        measured = {one["deployment"] for one in told["replicas"]}
        return deployments == measured == {"Composer", "Encoder", "shard-0", "shard-1"}

    assert eventually(whole)


def test_answers_and_their_times_are_in_the_points(live: Live) -> None:
    def told() -> bool:
        live.json("GET", "/v1/users/196/recommendations")
        return any(point["times"].get("answer_seconds|recommend") for point in frame(live)["points"])

    assert eventually(told)


def test_a_version_is_promoted_over_http(live: Live) -> None:
    """The served one, which stays: every check of a promotion is made, in a process of its own."""
    served = live.json("GET", "/v1/status")["index_version"]
    answer = live.http.post("/v1/admin/promote", json={"version": served})
    assert answer.json() == {"version": served, "before": served}
    wrong = live.http.post("/v1/admin/promote", json={"version": "v0"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "version")
