"""The composer's HTTP layer in this process, with its traces."""

from __future__ import annotations

import httpx
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.api.app import make_api
from deployments.api.spans import Tracer
from deployments.api.traces import Traces
from recsys.access.gate import Gate
from tests.support.world import World, eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
OF_USER = "/v1/users/anna/recommendations"


class TracedApi:
    def __init__(self, world: World) -> None:
        self.world = world
        self.traces = Traces("composer-1")
        asgi = make_api(world.gateway, Gate(), self.traces)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://localhost")

    async def get(self, path: str = OF_USER, **headers: str | bytes) -> httpx.Response:
        return await self.http.get(path, headers=headers)


def traced(api: TracedApi, sample: float = 1.0) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    api.traces.tracer = Tracer(sample, exporter, "composer-1")
    return exporter


async def spans(exporter: InMemorySpanExporter, count: int) -> dict[str, ReadableSpan]:
    assert await eventually(lambda: len(exporter.get_finished_spans()) >= count), exporter.get_finished_spans()
    finished = exporter.get_finished_spans()
    assert len(finished) == count
    return {span.name: span for span in finished}
