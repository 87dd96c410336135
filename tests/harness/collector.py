"""Real receivers of OTLP, and what they were sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

from harness.processes import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"

STAGES = ("receive", "batch_wait", "queue", "worker", "answer")

QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
"""Environment of a server that does not let its spans wait."""


class Collector:
    """What a receiver was sent."""

    def __init__(self) -> None:
        self.requests: list[messages.ExportTraceServiceRequest] = []
        self.endpoint = ""

    def spans(self) -> list[Any]:
        """All spans so far."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        """All spans of this name so far."""
        return [span for span in self.spans() if span.name == name]

    def service(self) -> str:
        """The name of the service that sent them."""
        attributes = self.requests[0].resource_spans[0].resource.attributes
        return next(it.value.string_value for it in attributes if it.key == "service.name")

    def wait_for(self, name: str, count: int = 1) -> Any:
        """The last of so many spans of this name, once all are there."""
        wait_until(lambda: len(self.named(name)) >= count, 20, f"span {name}")
        return self.named(name)[count - 1]

    def stages(self, whole: Any) -> dict[str, Any]:
        """The stages of a request by their names, checked for where and when they are."""

        def below() -> dict[str, Any]:
            return {it.name: it for it in self.spans() if it.parent_span_id == whole.span_id}

        wait_until(lambda: set(STAGES) <= set(below()), 20, "the stages")
        found = below()
        for stage in found.values():
            assert stage.trace_id == whole.trace_id
            assert stage.start_time_unix_nano >= whole.start_time_unix_nano
            assert stage.end_time_unix_nano <= whole.end_time_unix_nano
        assert found["queue"].end_time_unix_nano == found["worker"].start_time_unix_nano
        handlers = self.named("handler")
        assert any(it.parent_span_id == found["worker"].span_id for it in handlers)
        return found


@contextlib.contextmanager
def over_http() -> Iterator[Collector]:
    """Takes spans as protobuf over HTTP."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            collector.requests.append(messages.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        collector.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield collector
        server.shutdown()


@contextlib.contextmanager
def over_grpc() -> Iterator[Collector]:
    """Takes spans over gRPC."""
    collector = Collector()

    class Servicer(services.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.requests.append(request)
            return messages.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    collector.endpoint = f"http://127.0.0.1:{port}"
    server.start()
    yield collector
    server.stop(1)


def attributes(span: Any) -> dict[str, Any]:
    """What a span says of its request."""
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in span.attributes}
