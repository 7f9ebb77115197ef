"""Traces of requests to a real gateway with real shards, through the real HTTP layer, to a receiver that reads them."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from deployments.api.app import make_api
from deployments.api.spans import Tracer
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from recsys.config.security import Security
from recsys.config.serving import Tracing
from recsys.errors import BadInput
from tests.support.receiver import attributes, receiver
from tests.support.world import World, eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
OF_USER = "/v1/users/anna/recommendations"


class Api:
    """The composer's HTTP layer in this process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.traces = Traces("composer-1")
        gate = Gate()
        asgi = make_api(world.gateway, gate, self.traces)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://localhost")

    async def get(self, path: str = OF_USER, **headers: str | bytes) -> httpx.Response:
        return await self.http.get(path, headers=headers)


@pytest.fixture
async def make_api_of(make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds between two exports; 5,000 otherwise
    async with AsyncExitStack() as started:

        async def make(**options: Any) -> Api:
            api = Api(await make_world(**options))
            encode = api.world.encode
            api.world.encode = lambda v, texts: api.traces.call("encode", encode(v, texts))
            started.push_async_callback(api.traces.stop)
            await started.enter_async_context(api.http)
            return api

        yield make


def traced(api: Api, sample: float = 1.0) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    api.traces.tracer = Tracer(sample, exporter, "composer-1")
    return exporter


async def spans(exporter: InMemorySpanExporter, count: int) -> dict[str, ReadableSpan]:
    assert await eventually(lambda: len(exporter.get_finished_spans()) >= count), exporter.get_finished_spans()
    found = exporter.get_finished_spans()
    assert len(found) == count
    return {span.name: span for span in found}


async def test_a_request_has_the_stages_of_its_batch_and_the_calls_to_shards(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    answer = await api.get(f"{OF_USER}?k=3", **{"X-Request-ID": "request-7"})
    assert answer.status_code == 200
    found = await spans(exporter, 6)
    root = found["GET /v1/users/{user_id}/recommendations"]
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
    stages = [found[name] for name in ("profiles", "candidates", "ranking")]
    assert {span.parent.span_id for span in stages} == {root.context.span_id}
    timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    for span in stages:
        assert (span.end_time - span.start_time) / 1e6 == pytest.approx(float(timing[span.name]), abs=0.01)
    for before, after in itertools.pairwise(stages):
        assert before.end_time == after.start_time
    for shard in (found["shard-0"], found["shard-1"]):
        assert shard.parent.span_id == found["candidates"].context.span_id
        assert stages[1].start_time <= shard.start_time < shard.end_time <= stages[1].end_time
    assert {span.context.trace_id for span in found.values()} == {root.context.trace_id}
    assert "anna" not in "".join(span.to_json() for span in found.values())


async def test_requests_of_one_batch_have_traces_of_their_own(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    await api.get()  # opens what is opened once
    await spans(exporter, 6)
    exporter.clear()
    await asyncio.gather(*(api.get(f"/v1/users/u{n}/recommendations") for n in range(4)))
    assert await eventually(lambda: len(exporter.get_finished_spans()) == 24)
    found = exporter.get_finished_spans()
    roots = [span for span in found if span.parent is None]
    assert len({span.context.trace_id for span in roots}) == 4
    assert sum(1 / span.attributes["recsys.batch.requests"] for span in roots) < 4  # some travelled together
    for root in roots:
        names = sorted(s.name for s in found if s.context.trace_id == root.context.trace_id and s is not root)
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
    found = await spans(exporter, 6)
    root = found["GET /v1/users/{user_id}/recommendations"]
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
    found = await spans(exporter, 7)
    root, encode = found["POST /v1/search"], found["encode"]
    assert encode.parent.span_id == root.context.span_id
    assert root.start_time <= encode.start_time < encode.end_time <= found["profiles"].start_time
    assert root.attributes["recsys.scenario"] == "search"
    assert secret not in "".join(span.to_json() for span in found.values())


async def test_what_goes_wrong_is_seen(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    api.world.clients[1].error = OSError("gone")
    assert (await api.get()).json()["degraded"] == ["shard-1"]
    found = await spans(exporter, 6)
    assert found["GET /v1/users/{user_id}/recommendations"].attributes["recsys.degraded"] == ("shard-1",)
    assert found["shard-1"].status.status_code == StatusCode.ERROR
    assert found["shard-0"].status.is_unset
    exporter.clear()
    api.world.encoder_down = True
    assert (await api.http.post("/v1/search", json={"text": "sea"})).status_code == 503
    found = await spans(exporter, 2)
    assert found["POST /v1/search"].status.status_code == StatusCode.ERROR
    assert found["POST /v1/search"].attributes["http.response.status_code"] == 503
    assert found["encode"].status.description == "RuntimeError"


async def test_a_shard_that_is_late_ends_with_its_stage(make_api_of):
    api = await make_api_of()
    api.world.gateway.configure(api.world.gateway.settings.model_copy(update={"budget_s": 0.3}))
    exporter = traced(api)
    api.world.clients[0].delay_s = 5
    assert (await api.get()).json()["degraded"] == ["shard-0"]
    found = await spans(exporter, 6)
    assert found["shard-0"].end_time == found["candidates"].end_time
    assert found["shard-1"].end_time < found["shard-0"].end_time


async def test_a_path_without_a_route_and_a_refusal_name_no_path(make_api_of):
    api = await make_api_of()
    exporter = traced(api)
    assert (await api.get("/v1/secret")).status_code == 404
    assert set(await spans(exporter, 1)) == {"GET"}
    exporter.clear()
    assert (await api.get(f"{OF_USER}?k=many")).status_code == 422
    found = await spans(exporter, 1)
    assert found["GET /v1/users/{user_id}/recommendations"].status.is_unset  # the caller's mistake


async def test_a_real_receiver_gets_them(make_api_of):
    api = await make_api_of()
    with receiver() as got:
        await api.traces.configure(Tracing(endpoint=got.endpoint, sample=1.0))
        answer = await api.get(f"{OF_USER}?k=3", traceparent=f"00-{TRACE}-{PARENT}-01")
        assert await eventually(lambda: len(got.spans) == 6)
        [root] = got.named("GET /v1/users/{user_id}/recommendations")
        assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
        assert attributes(root)["recsys.request_id"] == answer.json()["request_id"]
        assert attributes(root)["recsys.degraded"] == []
        assert got.under(root).keys() == {"profiles", "candidates", "ranking"}
        assert got.under(got.named("candidates")[0]).keys() == {"shard-0", "shard-1"}
        assert got.services == {"recsys"}
        assert not any(b"anna" in raw for raw in got.raw)
        await api.traces.configure(Tracing(sample=1.0))  # off again
        await api.get()
        assert api.traces.tracer is None
        assert len(got.spans) == 6


async def test_what_is_left_is_sent_when_the_replica_stops(make_api_of, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    api = await make_api_of()
    with receiver() as got:
        await api.traces.configure(Tracing(endpoint=got.endpoint, sample=1.0))
        await api.get()
        assert got.spans == []
        await api.traces.stop()
        assert len(got.spans) == 6


@pytest.mark.parametrize("broken", ["refuses", "is not there"])
async def test_a_receiver_that_fails_costs_a_line_in_the_log(make_api_of, caplog, broken):
    api = await make_api_of()
    with receiver() as got:
        got.status = 400
        endpoint = got.endpoint if broken == "refuses" else "http://127.0.0.1:9/v1/traces"
        await api.traces.configure(Tracing(endpoint=endpoint, sample=1.0))
        with caplog.at_level(logging.WARNING, "opentelemetry"):
            assert (await api.get()).status_code == 200
            assert await eventually(lambda: "span" in caplog.text)
        assert (await api.get()).status_code == 200
        assert got.spans == []


async def test_a_receiver_that_hangs_holds_nobody(make_api_of, monkeypatch):
    """More spans than may wait: the others are dropped."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    api, hangs, sent = await make_api_of(), threading.Event(), []

    class Hanging(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            hangs.wait()
            sent.extend(spans)
            return SpanExportResult.FAILURE

    api.traces.tracer = Tracer(1.0, Hanging(), "composer-1")
    assert {(await api.get("/healthz")).status_code for _ in range(60)} == {200}
    hangs.set()
    await api.traces.stop()
    assert 0 < len(sent) <= 16 + 8


async def test_settings_that_stay_keep_the_tracer(make_api_of):
    api = await make_api_of()
    settings = Tracing(endpoint="http://127.0.0.1:9/v1/traces")
    await api.traces.configure(settings)
    before = api.traces.tracer
    await api.traces.configure(settings.model_copy())
    assert api.traces.tracer is before is not None


async def test_without_what_sends_them_requests_go_on(make_api_of, monkeypatch, caplog):
    api = await make_api_of()
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = Tracing(endpoint="http://127.0.0.1:4318/v1/traces", sample=1.0)
    with pytest.raises(BadInput, match=r"pip install 'recsys\[otel\]'"):
        Tracer.of(settings, "composer-1")
    await api.traces.configure(settings)
    assert "requests are answered without traces" in caplog.text
    assert (await api.get()).status_code == 200


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


@pytest.mark.parametrize("wrong", ["127.0.0.1:4318", "ftp://x/v1/traces", "http://user:secret@x/v1/traces", ""])
def test_an_endpoint_is_a_url_without_a_password(wrong):
    with pytest.raises(ValueError, match="endpoint"):
        Tracing(endpoint=wrong)
