"""A request's spans, by OpenTelemetry: the request, the stages of its batch, the calls to shards.

A batch serves many requests. Each of them that is traced has the stages of its batch as spans of its own, made when the
answer is there, from the times that the batch took anyway: so a trace stands by itself, and nothing is on the wire.

Imported only where traces are wanted: the SDK takes a tenth of a second.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from recsys.answers import Slate
from recsys.config.serving import Tracing
from recsys.datatypes import RecQuery
from recsys.errors import BadInput

_LONGEST = 128
"""Characters of an attribute: a request's id is whatever the caller sends."""
_LAST_WORDS_S = 2.0
"""Seconds for which a replica that stops waits for its last spans to leave."""


class Tracer:
    """`replica` names the process.

    Spans leave in a thread of their own. Where they cannot, 2,048 wait and the others are dropped, with a log line.
    """

    def __init__(self, sample: float, exporter: SpanExporter, replica: str) -> None:
        self._sample = sample
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not to be traced has no span, see `request`
            resource=Resource.create({"service.name": "recsys", "service.instance.id": replica}),
            span_limits=SpanLimits(max_attribute_length=_LONGEST),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("recsys")
        self._context = TraceContextTextMapPropagator()

    @classmethod
    def of(cls, settings: Tracing, replica: str) -> Tracer:
        """BadInput where the library that sends is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        except ImportError as error:
            raise BadInput(
                "tracing.endpoint: what sends traces is not installed: pip install 'recsys[otel]', or set it to null",
                field="tracing.endpoint",
            ) from error
        return cls(settings.sample, OTLPSpanExporter(settings.endpoint), replica)

    @contextmanager
    def request(self, carried: Mapping[str, str]) -> Iterator[RequestSpan | None]:
        """Around a request; None: it is not traced. `carried` are its W3C headers, `traceparent` and `tracestate`.

        A caller's decision stands (www.w3.org/TR/trace-context, the sampled flag); without one, chance decides.
        """
        parent = self._context.extract(carried, Context()) if carried else Context()
        caller = trace.get_current_span(parent).get_span_context()
        if not (caller.trace_flags.sampled if caller.is_valid else random.random() < self._sample):  # noqa: S311
            yield None
            return
        span = self._tracer.start_span("request", parent, SpanKind.SERVER)
        # An exception's text may hold anything: it is not recorded.
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield RequestSpan(self._tracer, span)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Around a call to another part: a span under that of the request that makes it, if that is traced."""
        if not trace.get_current_span().is_recording():
            yield
            return
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT)
        try:
            yield
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def stop(self) -> None:
        """Send what is left, for two seconds at the most."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_WORDS_S)


class RequestSpan:
    """What is said of a request: nothing of the user, and of what the caller wrote only the request's id."""

    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def request(self, method: str, route: str | None, request_id: str) -> None:
        """`route` None: there is none for what was asked. Names are OpenTelemetry's semantic conventions for HTTP."""
        self._span.update_name(method if route is None else f"{method} {route}")
        self._span.set_attributes({"http.request.method": method, "recsys.request_id": request_id})
        if route is not None:
            self._span.set_attribute("http.route", route)

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)

    def slate(self, query: RecQuery, slate: Slate) -> None:
        """The answer, and the way of its batch."""
        self._span.set_attributes(
            {
                "recsys.k": query.k,
                "recsys.scenario": query.scenario,
                "recsys.index_version": slate.index_version,
                "recsys.model_version": slate.model_version,
                "recsys.degraded": slate.degraded,
            }
        )
        if slate.batch is None:
            return
        self._span.set_attribute("recsys.batch.requests", slate.batch.requests)
        begin, request = slate.batch.began, trace.set_span_in_context(self._span)
        for stage, took_ms in slate.stages.items():
            end = begin + took_ms / 1000
            span = self._tracer.start_span(stage, request, start_time=_ns(begin))
            if stage == "candidates":
                self._calls(slate, trace.set_span_in_context(span), end)
            span.end(_ns(end))
            begin = end

    def _calls(self, slate: Slate, stage: Context, end: float) -> None:
        """The calls to shards; one that has not answered ends with its stage."""
        assert slate.batch is not None
        for part, (called, answered) in slate.batch.calls.items():
            began = slate.batch.began
            span = self._tracer.start_span(part, stage, SpanKind.CLIENT, start_time=_ns(began + called / 1000))
            if part in slate.degraded:
                span.set_status(Status(StatusCode.ERROR, "no answer in time"))
            span.end(_ns(began + answered / 1000 if math.isfinite(answered) else end))


def _ns(unix_s: float) -> int:
    return round(unix_s * 1e9)
