"""A receiver of OpenTelemetry's spans: OTLP over HTTP, as a collector takes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Receiver:
    """What has come. `raw` is each request as it came; a `status` other than 200 refuses what comes."""

    endpoint: str = ""
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    raw: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def under(self, parent: Span) -> dict[str, Span]:
        """A span's children by their names."""
        return {span.name: span for span in self.spans if span.parent_span_id == parent.span_id}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One that listens on loopback."""
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if got.status == 200 and (self.path, self.headers["content-type"]) == (
                "/v1/traces",
                "application/x-protobuf",
            ):
                got.take(body)
            self.send_response(got.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        got.endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield got
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Span) -> dict[str, object]:
    """Strings, numbers, and lists of strings."""
    said: dict[str, object] = {}
    for entry in span.attributes:
        kind = entry.value.WhichOneof("value")
        said[entry.key] = (
            [v.string_value for v in entry.value.array_value.values]
            if kind == "array_value"
            else getattr(entry.value, str(kind))
        )
    return said
