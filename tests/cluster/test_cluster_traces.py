"""Traces of the real platform, turned on and off while it serves, at a receiver that reads what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.live import Live, event, eventually
from tests.support.receiver import Receiver, attributes, receiver

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, when it is imported
]


@pytest.fixture(scope="module")
def traced(live: Live) -> Iterator[Receiver]:
    """Every request, until the module ends; no replica restarts for it."""
    before = sorted(process.pid for process in live.replicas("Composer"))
    with receiver() as got:
        live.reconfigure("tracing", endpoint=got.endpoint, sample=1.0)
        try:
            assert eventually(lambda: live.http.get("/healthz").is_success and got.spans)
            yield got
        finally:
            live.reconfigure("tracing")
    assert sorted(process.pid for process in live.replicas("Composer")) == before


def sent(got: Receiver, request_id: str, children: int) -> Any:
    """The span of a request, once so many are under it."""

    def arrived() -> Any:
        found = [span for span in list(got.spans) if attributes(span).get("recsys.request_id") == request_id]
        return found[0] if found and len(got.under(found[0])) >= children else None

    found = eventually(arrived)
    assert found, [span.name for span in got.spans]
    return found


def test_a_recommendation_shows_where_its_time_went(live: Live, traced: Receiver) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Request-ID": "traced-1"}
    answer = live.http.get("/v1/users/196/recommendations", headers=headers, params={"k": 7})
    root = sent(traced, "traced-1", 3)
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (trace, parent)
    said = attributes(root)
    assert (said["recsys.k"], said["recsys.scenario"], said["http.response.status_code"]) == (7, "home", 200)
    assert said["recsys.index_version"] == answer.json()["index_version"]
    stages = traced.under(root)
    assert stages.keys() == {"profiles", "candidates", "ranking"}
    shards = traced.under(stages["candidates"])
    assert shards.keys() == {"shard-0", "shard-1"}
    for span in (*stages.values(), *shards.values()):
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert stages["ranking"].end_time_unix_nano <= root.end_time_unix_nano


def test_a_search_and_a_write_show_the_encoder(live: Live, traced: Receiver) -> None:
    live.http.post("/v1/search", json={"text": "a lighthouse"}, headers={"X-Request-ID": "traced-2"})
    root = sent(traced, "traced-2", 4)
    assert root.name == "POST /v1/search"
    assert traced.under(root).keys() == {"encode", "profiles", "candidates", "ranking"}
    item = {"title": "Traced", "text": "a film of spans"}
    live.http.put("/v1/items/traced-item", json=item, headers={"X-Request-ID": "traced-3"}).raise_for_status()
    root = sent(traced, "traced-3", 1)
    assert root.name == "PUT /v1/items/{item_id}"
    assert traced.under(root).keys() == {"encode"}
    live.http.delete("/v1/items/traced-item", params={"wait": "visible"}).raise_for_status()


def test_nothing_of_the_user_or_the_content_is_sent(live: Live, traced: Receiver) -> None:
    secret = "traced-secret-user"
    live.like(secret, "1")
    live.http.post("/v1/events", json={"events": [event(secret, "1")]}, headers={"X-Request-ID": "traced-4"})
    live.http.post(
        "/v1/search",
        json={"text": secret, "user_id": secret},
        headers={"X-Request-ID": "traced-5", "X-API-Key": secret},
    )
    live.http.get(f"/v1/users/{secret}/recommendations", params={"k": secret}, headers={"X-Request-ID": "traced-6"})
    live.http.get(f"/v1/{secret}", headers={"X-Request-ID": "traced-7"})
    for request, children in (("traced-4", 0), ("traced-5", 4), ("traced-6", 0), ("traced-7", 0)):
        sent(traced, request, children)
    assert not any(secret.encode() in raw for raw in traced.raw)
    assert traced.services == {"recsys"}
