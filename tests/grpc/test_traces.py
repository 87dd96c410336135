"""Calls in distributed traces: spans at a real OTLP receiver, contexts in and out, ids."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ServerFactory
from harness import collector
from harness.collector import PARENT, QUICK, TRACE, TRACEPARENT, Collector, attributes
from harness.processes import wait_until

from .conftest import Client, Connect, refused

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
FROM_ABOVE = [("traceparent", TRACEPARENT), ("tracestate", "a=1")]
ASK = {"trace": True}


@pytest.fixture
def over_http() -> Iterator[Collector]:
    with collector.over_http() as it:
        yield it


def ask(client: Client, *metadata: tuple[str, str]) -> tuple[Any, dict[str, str]]:
    """What a handler is told of its place, and what the client is told first."""
    answer, call = client.inference.Predictions.with_call(
        client.request("rpc", ASK), timeout=30, metadata=metadata
    )
    return json.loads(answer.prediction), dict(call.initial_metadata())


def test_a_call_has_a_span_and_stages(
    start_server: ServerFactory, connect: Connect, over_http: Collector
) -> None:
    config = {"otlp_endpoint": over_http.endpoint, "log_format": "json"}
    server = start_server("rpc", config=config, environment=QUICK)
    client = connect(server)
    told, first = ask(client, *FROM_ABOVE)
    found = over_http.wait_for(f"{SERVICE}/Predictions")
    assert told["trace"] == [TRACE, found.span_id.hex(), True, "a=1"]
    assert told["id"] == first["x-request-id"]
    assert (found.trace_id.hex(), found.parent_span_id.hex()) == (TRACE, PARENT)
    assert (found.kind, found.trace_state, found.status.code) == (2, "a=1", 0)
    known = attributes(found)
    assert known.pop("client.address")
    assert known == {
        "network.protocol.version": "2",
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "Predictions",
        "rpc.grpc.status_code": 0,
        "tserve.request_id": told["id"],
    }
    stages = over_http.stages(found)
    assert attributes(stages["worker"])["tserve.batch_size"] == 1
    wait_until(
        lambda: any(
            (line.get("trace_id"), line.get("request_id")) == (TRACE, told["id"])
            for line in map(json.loads, server.log_file("access_log.log").splitlines())
        ),
        20,
        "the line",
    )
    # An error of the server is one of the span; without a parent, a trace begins.
    with refused("UNAVAILABLE"):
        client.predict("rpc", {"raise": "value"})
    failed = over_http.wait_for(f"{SERVICE}/Predictions", 2)
    assert (failed.status.code, attributes(failed)["rpc.grpc.status_code"]) == (2, 14)
    assert (failed.trace_id.hex() != TRACE, failed.parent_span_id) == (True, b"")
    # One of the client is none.
    with refused("INVALID_ARGUMENT"):
        client.predict("rpc", {"raise": "prediction", "code": 400, "message": "no"})
    blamed = over_http.wait_for(f"{SERVICE}/Predictions", 3)
    assert (blamed.status.code, attributes(blamed)["rpc.grpc.status_code"]) == (0, 3)


def test_a_streams_span_lasts_until_its_last_part(
    start_server: ServerFactory, connect: Connect, over_http: Collector
) -> None:
    server = start_server("rpc", config={"otlp_endpoint": over_http.endpoint}, environment=QUICK)
    client = connect(server)
    request = client.request("rpc", {"parts": 3, **ASK})
    call = client.inference.StreamPredictions(request, timeout=30, metadata=FROM_ABOVE)
    *parts, last = [part.prediction for part in call]
    told = json.loads(last)
    assert parts == [b"part 0", b"part 1", b"part 2"]
    found = over_http.wait_for(f"{SERVICE}/StreamPredictions")
    assert told["trace"] == [TRACE, found.span_id.hex(), True, "a=1"]
    assert told["id"] == dict(call.initial_metadata())["x-request-id"]
    assert found.parent_span_id.hex() == PARENT
    assert attributes(found)["rpc.grpc.status_code"] == 0
    over_http.stages(found)
    # A client that leaves ends its span too.
    endless = {"parts": 5000, "padding": 50_000}
    call = client.inference.StreamPredictions(client.request("rpc", endless), timeout=60)
    next(call)
    call.cancel()
    left = over_http.wait_for(f"{SERVICE}/StreamPredictions", 2)
    assert attributes(left)["rpc.grpc.status_code"] == 1


def test_requests_of_sequences_are_below_the_span_of_their_call(
    start_server: ServerFactory, connect: Connect, over_http: Collector
) -> None:
    server = start_server("rpc", config={"otlp_endpoint": over_http.endpoint}, environment=QUICK)
    client = connect(server)
    requests: queue.SimpleQueue[object] = queue.SimpleQueue()
    answers = client.inference.StreamPredictions2(
        iter(requests.get, None), timeout=60, metadata=FROM_ABOVE
    )
    for _ in range(2):
        requests.put(client.request("rpc", ASK, sequence_id="s"))
    requests.put(None)
    first, second = (json.loads(answer.prediction) for answer in answers)
    found = over_http.wait_for(f"{SERVICE}/StreamPredictions2")
    assert found.parent_span_id.hex() == PARENT
    assert first["trace"] == second["trace"] == [TRACE, found.span_id.hex(), True, "a=1"]
    assert first["id"] != second["id"]


def test_without_a_collector_the_clients_context_is_the_handlers(
    start_server: ServerFactory, connect: Connect
) -> None:
    client = connect(start_server("rpc"))
    assert ask(client, *FROM_ABOVE)[0]["trace"] == [TRACE, PARENT, True, "a=1"]
    # What is malformed or too long is no context.
    assert ask(client)[0]["trace"] is None
    assert ask(client, ("traceparent", "00-zz-1"))[0]["trace"] is None
    assert ask(client, ("traceparent", "00-" + "a" * 5000))[0]["trace"] is None
    long = ("tracestate", "a=" + "x" * 3000)
    assert ask(client, FROM_ABOVE[0], long)[0]["trace"] == [TRACE, PARENT, True, ""]


def test_a_clients_request_id_counts_where_that_is_wanted(
    start_server: ServerFactory, connect: Connect
) -> None:
    own = ("x-request-id", "client/1:a")
    client = connect(start_server("rpc"))
    told, first = ask(client, own)
    assert len(told["id"]) == 36
    assert first["x-request-id"] == told["id"]
    client = connect(start_server("rpc", config={"use_client_request_id": "true"}))
    told, first = ask(client, own)
    assert (told["id"], first["x-request-id"]) == ("client/1:a", "client/1:a")
    for bad in ("has blank", "x" * 129, "semi;colon"):
        told, first = ask(client, ("x-request-id", bad))
        assert len(told["id"]) == 36
        assert first["x-request-id"] == told["id"]
