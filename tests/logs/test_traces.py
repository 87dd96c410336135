"""Spans at a real OTLP receiver, contexts in and out, ids of requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from conftest import ServerFactory
from harness.client import Connection
from harness.processes import wait_until
from harness.server import Server
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """What a receiver was sent."""

    def __init__(self) -> None:
        self.requests: list[messages.ExportTraceServiceRequest] = []
        self.endpoint = ""

    def spans(self) -> list[Any]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans() if span.name == name]

    def service(self) -> str:
        attributes = self.requests[0].resource_spans[0].resource.attributes
        return next(it.value.string_value for it in attributes if it.key == "service.name")


@pytest.fixture
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


@pytest.fixture
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
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in span.attributes}


def told(server: Server, headers: dict[str, str] | None = None) -> Any:
    """Trace, span and sampled flag as the handler sees them."""
    answer = server.predict("raises", b"trace", headers)
    return answer.json()


QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}


def test_spans_arrive_over_http(start_server: ServerFactory, over_http: Collector) -> None:
    config = {"otlp_endpoint": over_http.endpoint}
    server = start_server("raises", config=config, environment=QUICK)
    trace, span, sampled = told(server, {"traceparent": TRACEPARENT, "tracestate": "a=1"})
    assert (trace, sampled) == (TRACE, True)
    assert span != PARENT
    wait_until(lambda: over_http.named("POST /predictions"), 20, "the span")
    (found,) = over_http.named("POST /predictions")
    assert found.trace_id.hex() == TRACE
    assert found.parent_span_id.hex() == PARENT
    assert found.span_id.hex() == span
    assert found.trace_state == "a=1"
    assert found.end_time_unix_nano > found.start_time_unix_nano
    known = attributes(found)
    assert known["http.request.method"] == "POST"
    assert known["url.path"] == "/predictions/raises"
    assert known["http.response.status_code"] == 200
    assert over_http.service() == "tserve"
    # Where the time went: stages one after the other, the handler within the worker.
    wait_until(lambda: over_http.named("answer"), 20, "the stages")
    stages = {span.name: span for span in over_http.spans()}
    for name in ("receive", "batch_wait", "queue", "worker", "answer"):
        assert stages[name].parent_span_id == found.span_id, name
        assert stages[name].trace_id == found.trace_id
        assert stages[name].start_time_unix_nano >= found.start_time_unix_nano
        assert stages[name].end_time_unix_nano <= found.end_time_unix_nano
    assert stages["handler"].parent_span_id == stages["worker"].span_id
    assert attributes(stages["worker"])["tserve.batch_size"] == 1
    assert stages["queue"].end_time_unix_nano == stages["worker"].start_time_unix_nano
    # An error of the model is one of the span; without a parent, a trace begins.
    server.predict("raises", b"none")
    wait_until(lambda: len(over_http.named("POST /predictions")) == 2, 20, "the second span")
    failed = over_http.named("POST /predictions")[1]
    assert failed.status.code == 2
    assert failed.trace_id.hex() != TRACE
    assert failed.parent_span_id == b""


def test_spans_arrive_over_grpc_as_the_environment_says(
    start_server: ServerFactory, over_grpc: Collector
) -> None:
    environment = {
        **QUICK,
        "OTEL_EXPORTER_OTLP_ENDPOINT": over_grpc.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_SERVICE_NAME": "digits",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    }
    server = start_server("raises", environment=environment)
    # Sampled only where the caller does.
    trace, span, sampled = told(server)
    assert (len(trace), len(span), sampled) == (32, 16, False)
    assert told(server, {"traceparent": f"00-{TRACE}-{PARENT}-00"})[::2] == [TRACE, False]
    assert told(server, {"traceparent": TRACEPARENT})[::2] == [TRACE, True]
    wait_until(lambda: over_grpc.named("POST /predictions"), 20, "the span")
    server.stop()
    assert {span.trace_id.hex() for span in over_grpc.spans()} == {TRACE}
    assert over_grpc.service() == "digits"


@pytest.mark.parametrize(
    "header",
    ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "00-" + "a" * 5000],
)
def test_contexts_that_are_none_begin_a_trace(
    start_server: ServerFactory, over_http: Collector, header: str
) -> None:
    server = start_server("raises", config={"otlp_endpoint": over_http.endpoint})
    trace, _, _ = told(server, {"traceparent": header, "tracestate": "x" * 3000})
    assert trace not in (TRACE, "0" * 32)
    assert len(trace) == 32


def test_without_a_collector_the_clients_context_is_the_handlers(
    start_server: ServerFactory,
) -> None:
    server = start_server("raises")
    assert told(server, {"Traceparent": TRACEPARENT}) == [TRACE, PARENT, True]
    assert told(server) is None
    assert told(server, {"traceparent": "00-zz-1"}) is None


def test_a_collector_that_is_not_there_slows_nothing(start_server: ServerFactory) -> None:
    environment = {**QUICK, "OTEL_BSP_MAX_QUEUE_SIZE": "50"}
    config = {"otlp_endpoint": "http://127.0.0.1:9"}
    server = start_server("noop", config=config, environment=environment)
    with Connection(server.port, timeout=5) as connection:
        for _ in range(500):
            assert connection.request("POST", "/predictions/noop", b"1").status == 200
    wait_until(
        lambda: "spans were not taken by the collector" in server.log_file("ts_log.log"), 30, "said"
    )


def test_a_clients_request_id_counts_where_that_is_wanted(start_server: ServerFactory) -> None:
    own = {"x-request-id": "client/1:a", "x-tell": "id"}
    server = start_server("echo", config={"use_client_request_id": "true"})
    answer = server.predict("echo", b"", own)
    assert answer.headers["x-request-id"] == "client/1:a"
    assert answer.text == "client/1:a"
    for bad in ("has blank", "x" * 129, "semi;colon"):
        made = server.predict("echo", b"", {"x-request-id": bad}).headers["x-request-id"]
        assert len(made) == 36
        assert made != bad
    assert len(server.predict("echo", b"").headers["x-request-id"]) == 36


def test_json_lines_name_the_trace(start_server: ServerFactory, over_http: Collector) -> None:
    config = {"otlp_endpoint": over_http.endpoint, "log_format": "json"}
    server = start_server("raises", config=config)
    told(server, {"traceparent": TRACEPARENT})
    wait_until(lambda: f'"trace_id":"{TRACE}"' in server.log_file("access_log.log"), 10, "the line")
