"""The header `Server-Timing` of a real server."""

from __future__ import annotations

import time

import grpc
import pytest
from conftest import ServerFactory
from harness.client import Answer, Connection
from harness.metrics import samples, scrape, timing, total


def test_the_parts_add_up_to_the_time_that_was_measured(start_server: ServerFactory) -> None:
    server = start_server("sleeper", config={"server_timing": "true"})
    differences = []
    with Connection(server.port) as connection:
        for _ in range(10):
            begun = time.perf_counter()
            answer = connection.request("POST", "/predictions/sleeper", b"0.1")
            measured_ms = (time.perf_counter() - begun) * 1000
            parts = timing(answer)
            assert sum(parts.values()) <= measured_ms
            assert parts["handler"] >= 100
            differences.append(1 - sum(parts.values()) / measured_ms)
    # What is missing is the client's own and the network's, which a busy machine may stretch.
    assert min(differences) < 0.02, differences


def test_a_wait_for_a_busy_worker_is_time_in_the_queue(start_server: ServerFactory) -> None:
    server = start_server("sleeper", config={"server_timing": "true"})
    with Connection(server.port) as first, Connection(server.port) as second:
        first._connection.request("POST", "/predictions/sleeper", b"0.5")
        time.sleep(0.1)
        answer = second.request("POST", "/predictions/sleeper", b"0")
        first._connection.getresponse().read()
    parts = timing(answer)
    assert parts["queue"] == pytest.approx(400, abs=120), parts
    assert parts["handler"] < 100, parts


def test_without_the_key_there_is_no_header(start_server: ServerFactory) -> None:
    server = start_server("noop")
    assert "server-timing" not in server.predict("noop", b"").headers


def test_time_spent_at_a_stage_is_found_at_that_stage(start_server: ServerFactory) -> None:
    settings = {"batchSize": 2, "maxBatchDelay": 300}
    server = start_server(
        {"name": "sleeper", "settings": settings}, config={"server_timing": "true"}
    )
    answer = server.predict("sleeper", b"0.2")
    parts = timing(answer)
    assert parts["handler"] == pytest.approx(200, abs=60), parts
    assert parts["batch"] == pytest.approx(300, abs=60), parts
    own = samples(scrape(server, "/metrics/tserve"))
    stage = "tserve_stage_duration_seconds_sum"
    assert total(own, stage, stage="handler") == pytest.approx(parts["handler"] / 1e3, abs=1e-4)
    assert total(own, stage, stage="batch_wait") == pytest.approx(parts["batch"] / 1e3, abs=1e-4)
    assert total(own, "tserve_batches_total", reason="delay") == 1


def test_a_call_over_grpc_is_told_in_its_metadata(start_server: ServerFactory) -> None:
    server = start_server("sleeper", config={"server_timing": "true"})
    # PredictionsRequest{model_name: "sleeper", input: {"body": "0.1"}}
    request = b"\x0a\x07sleeper\x1a\x0b\x0a\x04body\x12\x030.1"
    path = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_ports[0]}") as channel:
        answer, call = channel.unary_unary(path).with_call(request, timeout=30)
    assert answer == b"\x0a\x05slept"
    fields = dict(call.initial_metadata())
    parts = timing(Answer(200, "", {"server-timing": fields["server-timing"]}, b""))
    assert parts["handler"] >= 100
    assert list(parts) == ["receive", "batch", "queue", "transport", "handler", "respond"]
