"""Traces of requests to a real gateway with real shards, through the real HTTP layer."""

from __future__ import annotations

import asyncio
import itertools
import json

import httpx
import pytest
from opentelemetry.trace import StatusCode

from deployments.api.app import make_api
from recsys.access.gate import Gate
from recsys.config.security import Security
from tests.support.traced_api import OF_USER, PARENT, TRACE, spans, traced
from tests.support.world import eventually

pytestmark = pytest.mark.usefixtures("seeded")


async def test_a_request_has_the_stages_of_its_batch_and_the_calls_to_shards(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    answer = await api.get(f"{OF_USER}?k=3", **{"X-Request-ID": "request-7"})
    assert answer.status_code == 200
    by_name = await spans(exporter, 6)
    root = by_name["GET /v1/users/{user_id}/recommendations"]
    assert root.parent is None
    assert dict(root.attributes) == {
        "http.request.method": "GET",
        "http.route": "/v1/users/{user_id}/recommendations",
        "http.response.status_code": 200,
        "recsys.request_id": "request-7",
        "recsys.k": 3,
        "recsys.scenario": "home",
        "recsys.index_version": answer.json()["index_version"],
        "recsys.model_version": answer.json()["model_version"],
        "recsys.degraded": (),
        "recsys.batch.requests": 1,
    }
    stages = [by_name[name] for name in ("profiles", "candidates", "ranking")]
    assert {span.parent.span_id for span in stages} == {root.context.span_id}
    timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    for span in stages:
        assert (span.end_time - span.start_time) / 1e6 == pytest.approx(float(timing[span.name]), abs=0.01)
    for before, after in itertools.pairwise(stages):
        assert before.end_time == after.start_time
    for shard in (by_name["shard-0"], by_name["shard-1"]):
        assert shard.parent.span_id == by_name["candidates"].context.span_id
        assert stages[1].start_time <= shard.start_time < shard.end_time <= stages[1].end_time
    assert {span.context.trace_id for span in by_name.values()} == {root.context.trace_id}
    assert "anna" not in "".join(span.to_json() for span in by_name.values())


async def test_requests_of_one_batch_have_traces_of_their_own(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    await api.get()  # opens what is opened once
    await spans(exporter, 6)
    exporter.clear()
    await asyncio.gather(*(api.get(f"/v1/users/u{n}/recommendations") for n in range(4)))
    assert await eventually(lambda: len(exporter.get_finished_spans()) == 24)
    finished = exporter.get_finished_spans()
    roots = [span for span in finished if span.parent is None]
    assert len({span.context.trace_id for span in roots}) == 4
    assert sum(1 / span.attributes["recsys.batch.requests"] for span in roots) < 4  # some travelled together
    for root in roots:
        names = sorted(s.name for s in finished if s.context.trace_id == root.context.trace_id and s is not root)
        assert names == ["candidates", "profiles", "ranking", "shard-0", "shard-1"]


async def test_the_sampled_flag_of_a_caller_decides(make_api_of):
    """Whatever the share is; one that is broken counts for nothing (W3C Trace Context, 3.2.2)."""
    api = await make_api_of()
    exporter = traced(api, sample=0.0)
    await api.get()
    await api.get(traceparent=f"00-{TRACE}-{PARENT}-00")
    await api.get(traceparent=f"00-{'0' * 32}-{PARENT}-01")
    await api.get(traceparent=b"\xff nonsense")
    await api.get(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="shop=1")
    by_name = await spans(exporter, 6)
    root = by_name["GET /v1/users/{user_id}/recommendations"]
    assert (f"{root.parent.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, PARENT)
    assert root.context.trace_state["shop"] == "1"
    exporter.clear()
    other = traced(api, sample=1.0)
    await api.get(traceparent=f"00-{TRACE}-{PARENT}-00")
    await api.get("/healthz")
    await spans(other, 1)
    assert exporter.get_finished_spans() == ()


async def test_about_the_share_is_traced(make_api_of):
    api = await make_api_of()
    exporter = traced(api, sample=0.3)
    for _ in range(200):
        await api.get("/healthz")
    await api.get("/healthz", traceparent=f"00-{TRACE}-{PARENT}-01")  # the last of them
    assert await eventually(lambda: any(s.parent for s in exporter.get_finished_spans()))
    assert 30 < len(exporter.get_finished_spans()) < 95  # 60 expected; further off in one of 100,000 runs


async def test_a_search_shows_the_call_to_the_encoder(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    secret = "a secret wave"
    answer = await api.http.post("/v1/search", json={"text": secret, "user_id": "anna"})
    assert answer.status_code == 200
    by_name = await spans(exporter, 7)
    root, encode = by_name["POST /v1/search"], by_name["encode"]
    assert encode.parent.span_id == root.context.span_id
    assert root.start_time <= encode.start_time < encode.end_time <= by_name["profiles"].start_time
    assert root.attributes["recsys.scenario"] == "search"
    assert secret not in "".join(span.to_json() for span in by_name.values())


async def test_what_goes_wrong_is_seen(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    api.world.clients[1].error = OSError("gone")
    assert (await api.get()).json()["degraded"] == ["shard-1"]
    by_name = await spans(exporter, 6)
    assert by_name["GET /v1/users/{user_id}/recommendations"].attributes["recsys.degraded"] == ("shard-1",)
    assert by_name["shard-1"].status.status_code == StatusCode.ERROR
    assert by_name["shard-0"].status.is_unset
    exporter.clear()
    api.world.encoder_down = True
    assert (await api.http.post("/v1/search", json={"text": "sea"})).status_code == 503
    by_name = await spans(exporter, 2)
    assert by_name["POST /v1/search"].status.status_code == StatusCode.ERROR
    assert by_name["POST /v1/search"].attributes["http.response.status_code"] == 503
    assert by_name["encode"].status.description == "RuntimeError"


async def test_a_shard_that_is_late_ends_with_its_stage(clock, make_api_of):
    api = await make_api_of()
    api.world.gateway.configure(api.world.gateway.settings.model_copy(update={"budget_s": 10}))
    exporter = traced(api)
    api.world.clients[0].delay_s = 3600
    answered, search = asyncio.Event(), api.world.clients[1].search

    async def told(query):
        found = await search(query)
        asyncio.get_running_loop().call_later(0.05, answered.set)  # once the gateway has it
        return found

    api.world.clients[1].search = told
    asking = asyncio.create_task(api.get())
    await answered.wait()
    clock.forward(10)
    assert (await asking).json()["degraded"] == ["shard-0"]
    by_name = await spans(exporter, 6)
    assert by_name["shard-0"].end_time == by_name["candidates"].end_time
    assert by_name["shard-1"].end_time < by_name["shard-0"].end_time


async def test_a_path_without_a_route_and_a_refusal_name_no_path(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    assert (await api.get("/v1/secret")).status_code == 404
    assert set(await spans(exporter, 1)) == {"GET"}
    exporter.clear()
    assert (await api.get(f"{OF_USER}?k=many")).status_code == 422
    by_name = await spans(exporter, 1)
    assert by_name["GET /v1/users/{user_id}/recommendations"].status.is_unset  # the caller's mistake


async def test_a_caller_without_a_key_is_seen_and_the_key_is_not(make_api_of, monkeypatch):
    api = await make_api_of()
    keys = {"keys": [{"name": "a", "sha256": "0" * 64, "scopes": ["read"]}]}
    monkeypatch.setenv("RECSYS_API_KEYS", json.dumps(keys))
    gate = Gate()
    await gate.configure(Security())
    asgi = make_api(api.world.gateway, gate, api.traces)
    exporter = traced(api)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://localhost") as caller:
        assert (await caller.get(OF_USER, headers={"X-API-Key": "rk-secret"})).status_code == 401
    [span] = (await spans(exporter, 1)).values()
    assert span.attributes["http.response.status_code"] == 401
    assert "rk-secret" not in span.to_json()
