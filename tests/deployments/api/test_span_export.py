"""Traces on their way to a receiver: what sends them may fail, and no request waits for it."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from deployments.api.spans import Tracer
from recsys.config.serving import Tracing
from recsys.errors import BadInput
from tests.support.receiver import attributes, receiver
from tests.support.traced_api import OF_USER, PARENT, TRACE
from tests.support.world import eventually


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


@pytest.mark.parametrize("wrong", ["127.0.0.1:4318", "ftp://x/v1/traces", "http://user:secret@x/v1/traces", ""])
def test_an_endpoint_is_a_url_without_a_password(wrong):
    with pytest.raises(ValueError, match="endpoint"):
        Tracing(endpoint=wrong)
