"""What breaks the protocol: a status, a reason, and a server that goes on."""

from __future__ import annotations

import json
import os
import struct
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from conftest import ServerFactory
from harness.client import request
from harness.processes import wait_until
from harness.server import Server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import ON, Infer

X = {"name": "x", "datatype": "INT16", "shape": [2], "data": [1, 2]}
INFER = "/inference.GRPCInferenceService/ModelInfer"


def binary(size: object, **fields: object) -> dict[str, Any]:
    kept = {key: value for key, value in X.items() if key != "data"}
    return {"inputs": [{**kept, "parameters": {"binary_data_size": size}, **fields}]}


def test_requests_that_break_the_protocol(typed: Server, infer: Infer) -> None:
    for fields, reason in [
        ({"shape": [3]}, "2 elements where the shape has 3"),
        ({"shape": [-2]}, "dimension -2"),
        ({"shape": [2**62, 2**62]}, "too many elements"),
        ({"shape": [2**40]}, "fewer elements"),
        ({"datatype": "FLOAT"}, "unknown datatype"),
        ({"data": [1, 70000]}, "70000 is no INT16"),
        ({"data": "x"}, "not an array"),
        ({"data": None}, "neither data nor binary_data_size"),
    ]:
        text = infer.error(typed, "tensors", {"inputs": [{**X, **fields}]})
        assert reason in text
        assert '"x"' in text
    assert "occurs twice" in infer.error(typed, "tensors", {"inputs": [X, X]})
    assert "3 bytes where" in infer.error(typed, "tensors", binary(3), b"123")
    assert "only 2 bytes are left" in infer.error(typed, "tensors", binary(4), b"12")
    assert "1 bytes behind" in infer.error(typed, "tensors", binary(4), b"12345")
    odd = infer(typed, "tensors", {"inputs": [X]}, **{"Inference-Header-Content-Length": "x"})
    assert (odd.status, "not a length" in odd.text) == (400, True)
    long = infer(typed, "tensors", {"inputs": [X]}, **{"Inference-Header-Content-Length": "9999"})
    assert (long.status, "the body has" in long.text) == (400, True)
    assert infer(typed, "tensors", b"{").status == 400
    assert infer(typed, "tensors", {"inputs": [X]}).status == 200


def test_large_requests_that_break_the_protocol(typed: Server, infer: Infer) -> None:
    # Their bodies lie in the model's memory already.
    tail = os.urandom(1_000_000)
    sized = {"shape": [1000]}
    assert "1000000 bytes where" in infer.error(typed, "tensors", binary(len(tail), **sized), tail)
    answer = infer(typed, "nobody", binary(len(tail)), tail)
    told: Any = answer.json()
    assert (answer.status, told["error"]) == (404, "Model not found: nobody")
    good = binary(len(tail), shape=[len(tail) // 2])
    assert infer(typed, "tensors", good, tail).status == 200


def test_too_much(start_server: ServerFactory, infer: Infer, stubs: SimpleNamespace) -> None:
    server = start_server("tensors", config={**ON, "max_request_size": 100_000})
    assert infer(server, "tensors", binary(200_000), b"x" * 200_000).status == 413
    address = f"127.0.0.1:{server.grpc_ports[0]}"
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(INFER)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x3a\xc0\x9a\x0c" + b"x" * 200_000, timeout=20)
        assert caught.value.code().name == "RESOURCE_EXHAUSTED"
        for garbage in (b"\xff" * 40, b"\x2a\x05\x0a\xff\xff\xff\xff", os.urandom(5000)):
            with pytest.raises(grpc.RpcError) as caught:
                call(garbage, timeout=20)
            assert caught.value.code().name in {"INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert infer(server, "tensors", {"inputs": [X]}).status == 200


def test_messages_that_break_the_protocol(
    typed: Server, channel: Any, stubs: SimpleNamespace
) -> None:
    stub, pb = channel(typed), stubs.pb

    def refusal(code: str = "INVALID_ARGUMENT", **fields: Any) -> str:
        message = pb.ModelInferRequest(**{"model_name": "tensors", **fields})
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message, timeout=20)
        assert caught.value.code().name == code
        return str(caught.value.details())

    def tensor(datatype: str, shape: list[int], **contents: Any) -> Any:
        made = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
        if contents:
            made.contents.CopyFrom(pb.InferTensorContents(**contents))
        return made

    assert "no inputs" in refusal()
    assert "4 bytes where the shape has 8" in refusal(
        inputs=[tensor("FP32", [2], fp32_contents=[1])]
    )
    assert "0 bytes where" in refusal(inputs=[tensor("FP32", [2], int_contents=[1, 2])])
    assert "300 is no INT8" in refusal(inputs=[tensor("INT8", [1], int_contents=[300])])
    assert "raw_input_contents" in refusal(inputs=[tensor("FP16", [1])])
    assert "unknown datatype" in refusal(inputs=[tensor("FP7", [1])])
    assert "dimension -1" in refusal(inputs=[tensor("FP32", [-1])])
    one = tensor("INT8", [1])
    assert "2 entries for 1 inputs" in refusal(inputs=[one], raw_input_contents=[b"1", b"2"])
    both = tensor("INT8", [1], int_contents=[1])
    assert "besides raw" in refusal(inputs=[both], raw_input_contents=[b"1"])
    assert "2 bytes where" in refusal(inputs=[one], raw_input_contents=[b"12"])
    text = refusal("INTERNAL", model_name="")
    assert text == "Parameter model_name is required.\nBadRequestException.()"
    text = refusal("INTERNAL", model_name="no", inputs=[one], raw_input_contents=[b"1"])
    assert text.startswith("Model not found: no\n")
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelReady(pb.ModelReadyRequest(name="no"), timeout=20)
    assert caught.value.code().name == "NOT_FOUND"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.lists(st.one_of(st.integers(-3, 4), st.integers()), max_size=3),
    datatype=st.sampled_from(["INT8", "BOOL", "BYTES", "FP32", "FP16", "X"]),
    size=st.one_of(st.integers(-1, 20), st.integers()),
    tail=st.binary(max_size=16),
)
def test_anything_is_answered_and_the_worker_lives(
    typed: Server, shape: list[int], datatype: str, size: int, tail: bytes
) -> None:
    parameters = {"binary_data_size": size}
    entry = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    head = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = request(typed.port, "POST", "/v2/models/tensors/infer", head + tail, headers)
    assert answer.status in {200, 400}
    if answer.status == 200:
        assert size == len(tail)


def test_a_worker_that_dies_costs_its_own_request(typed: Server, infer: Infer) -> None:
    """Writing to a tensor of torch ends the worker; the others and the next requests live."""
    assert infer(typed, "tensors", {"inputs": [X]}).status == 200
    # A client may name the type that the server writes for its worker; it means nothing.
    kind = {"Content-Type": "application/vnd.tserve.tensor;FP32;1000"}
    told = request(typed.port, "POST", "/predictions/tensors", struct.pack("f", 1) * 9000, kind)
    assert (told.status, json.loads(told.body)) == (200, {"body": "bytearray"})
    wait_until(lambda: infer(typed, "tensors", {"inputs": [X]}).status == 200, 10, "it serves")
