"""Tensors in distributed traces: the handler's place is below the server's span."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ServerFactory
from harness import collector
from harness.collector import PARENT, QUICK, TRACE, TRACEPARENT, Collector, attributes
from harness.server import Server

from .conftest import ON, Infer

SERVICE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
X = {"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}
ASK = {"inputs": [X], "parameters": {"do": "trace"}}


@pytest.fixture
def over_http() -> Iterator[Collector]:
    with collector.over_http() as it:
        yield it


def traced(start_server: ServerFactory, endpoint: str, *archives: Any) -> Server:
    config = {**ON, "otlp_endpoint": endpoint}
    return start_server(*archives, config=config, environment=QUICK)


def below(span: Any) -> None:
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


def test_tensors_over_rest(start_server: ServerFactory, infer: Infer, over_http: Collector) -> None:
    server = traced(start_server, over_http.endpoint, "tensors")
    # In JSON; and with room for 20,000 bytes in shared memory.
    large = {"name": "y", "datatype": "UINT8", "shape": [20_000]}
    large["parameters"] = {"binary_data_size": 20_000}
    for count, (inputs, tail) in enumerate([([X], b""), ([large], b"x" * 20_000)], 1):
        document = {**ASK, "inputs": inputs}
        answer = infer(server, "tensors", document, tail, traceparent=TRACEPARENT)
        told: Any = answer.json()
        seen = {it["name"]: it["data"][0] for it in told["outputs"]}
        found = over_http.wait_for("POST /v2", count)
        below(found)
        assert seen == {"trace": TRACE, "span": found.span_id.hex()}
        assert attributes(found)["tserve.request_id"] == answer.headers["x-request-id"]
        over_http.stages(found)


def test_tensors_over_grpc(
    start_server: ServerFactory, channel: Any, stubs: SimpleNamespace, over_http: Collector
) -> None:
    server = traced(start_server, over_http.endpoint, "tensors")
    stub, pb = channel(server), stubs.pb
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(0.5)
    message = pb.ModelInferRequest(model_name="tensors", inputs=[tensor])
    message.parameters["do"].string_param = "trace"
    metadata = [("traceparent", TRACEPARENT)]
    answer, call = stub.ModelInfer.with_call(message, timeout=30, metadata=metadata)
    seen = {it.name: it.contents.bytes_contents[0].decode() for it in answer.outputs}
    found = over_http.wait_for(f"{SERVICE}/ModelInfer")
    below(found)
    assert seen == {"trace": TRACE, "span": found.span_id.hex()}
    known = attributes(found)
    assert (known["rpc.service"], known["rpc.method"]) == (SERVICE, "ModelInfer")
    assert known["rpc.grpc.status_code"] == 0
    assert known["tserve.request_id"] == dict(call.initial_metadata())["x-request-id"]
    over_http.stages(found)
