"""Spans at a real OTLP receiver, contexts in and out, ids of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ServerFactory
from harness import collector
from harness.client import Connection
from harness.collector import PARENT, QUICK, TRACE, TRACEPARENT, Collector, attributes
from harness.http2 import Http2
from harness.processes import wait_until
from harness.server import Server


@pytest.fixture
def over_http() -> Iterator[Collector]:
    with collector.over_http() as it:
        yield it


@pytest.fixture
def over_grpc() -> Iterator[Collector]:
    with collector.over_grpc() as it:
        yield it


def told(server: Server, headers: dict[str, str] | None = None) -> Any:
    """Trace, span and sampled flag as the handler sees them."""
    answer = server.predict("raises", b"trace", headers)
    return answer.json()


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
    assert known["network.protocol.version"] == "1.1"
    assert len(known["tserve.request_id"]) == 36
    assert over_http.service() == "tserve"
    # Where the time went: stages one after the other, the handler within the worker.
    stages = over_http.stages(found)
    assert attributes(stages["worker"])["tserve.batch_size"] == 1
    # An error of the model is one of the span; without a parent, a trace begins.
    server.predict("raises", b"none")
    wait_until(lambda: len(over_http.named("POST /predictions")) == 2, 20, "the second span")
    failed = over_http.named("POST /predictions")[1]
    assert failed.status.code == 2
    assert failed.trace_id.hex() != TRACE
    assert failed.parent_span_id == b""


def test_requests_of_one_http2_connection_have_spans_of_their_own(
    start_server: ServerFactory, over_http: Collector
) -> None:
    server = start_server("raises", config={"otlp_endpoint": over_http.endpoint}, environment=QUICK)
    parents = [f"{number:016x}" for number in range(1, 9)]
    with Http2(server.port) as connection:
        streams = [
            connection.ask(
                "/predictions/raises",
                b"trace",
                headers={"traceparent": f"00-{TRACE}-{parent}-01", "tracestate": f"n={parent}"},
            )
            for parent in parents
        ]
        told: list[Any] = [connection.answer(stream).json() for stream in streams]
    over_http.wait_for("POST /predictions", len(parents))
    spans = {span.parent_span_id.hex(): span for span in over_http.named("POST /predictions")}
    for parent, (trace, span, sampled) in zip(parents, told, strict=True):
        found = spans[parent]
        assert (trace, span, sampled) == (TRACE, found.span_id.hex(), True)
        assert found.trace_state == f"n={parent}"
        known = attributes(found)
        assert known["network.protocol.version"] == "2"
        assert known["http.response.status_code"] == 200
        over_http.stages(found)


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
