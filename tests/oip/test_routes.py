"""Routes, switches and life of KServe v1 and v2: REST, and TorchServe's gRPC package."""

from __future__ import annotations

import contextlib
import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ServerFactory
from harness.client import request
from harness.processes import wait_until
from harness.server import Server

from .conftest import ON, Infer

X = {"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}


def get(server: Server, path: str) -> tuple[int, Any]:
    answer = server.get(path)
    return answer.status, answer.json()


def is_ready(server: Server, path: str) -> bool:
    """Whether a path answers 200; the server may not listen yet."""
    with contextlib.suppress(OSError):
        return server.get(path).status == 200
    return False


def test_metadata_and_health_over_rest(typed: Server) -> None:
    assert get(typed, "/v2/health/live") == (200, {"live": True})
    assert get(typed, "/v2/health/ready") == (200, {"ready": True})
    status, server = get(typed, "/v2/")
    assert (status, server["extenstion"]) == (200, ["kserve", "kubeflow"])
    assert get(typed, "/v2/models") == (200, {"models": ["tensors", "torchy"]})
    assert get(typed, "/v1/models") == (200, {"models": ["tensors", "torchy"]})
    ready = {"name": "tensors", "ready": True}
    for path in ("/v1/models/tensors", "/v2/models/tensors/ready"):
        assert get(typed, path) == (200, ready)
    assert get(typed, "/v2/models/tensors/versions/1.0/ready") == (200, ready)
    assert request(typed.management_port, "GET", "/v1/models/tensors").json() == ready
    described = {
        "name": "tensors",
        "versions": ["1.0"],
        "platform": "",
        "inputs": [],
        "outputs": [],
    }
    assert get(typed, "/v2/models/tensors") == (200, described)
    assert get(typed, "/v2/models/tensors/versions/1.0") == (200, described)
    for path in ("no", "no/ready", "tensors/versions/7", "tensors/versions/7/ready"):
        status, told = get(typed, f"/v2/models/{path}")
        assert (status, told["error"]) == (404, told["message"])
    assert get(typed, "/v1/models/no")[0] == 404


def test_versions_are_asked_by_path(typed: Server) -> None:
    body = json.dumps({"inputs": [X]}).encode()
    path = "/v2/models/tensors/versions/{}/infer"
    answer = request(typed.port, "POST", path.format("1.0"), body)
    told: Any = answer.json()
    assert (answer.status, told["outputs"]) == (200, [X])
    assert request(typed.port, "POST", path.format("7"), body).status == 404


def test_everything_is_described(typed: Server) -> None:
    paths = request(typed.port, "OPTIONS", "/").json()["paths"]  # type: ignore[index]
    assert {
        "/v2",
        "/v2/health/ready",
        "/v2/models/{model_name}/infer",
        "/v2/models/{model_name}/versions/{model_version}/infer",
        "/v1/models/{model_name}:predict",
    } <= set(paths)
    assert request(typed.port, "OPTIONS", "/v2/models/tensors/infer").status == 200


def test_it_is_off_unless_switched_on(start_server: ServerFactory, infer: Infer) -> None:
    server = start_server("echo", {"name": "m", "handler": "noop.py"})
    for path in ("/v2", "/v2/health/live", "/v2/models/m", "/v2/models/m/ready"):
        status, told = get(server, path)
        assert (status, told["type"]) == (404, "ResourceNotFoundException")
    # As before: a prediction like any other, whatever is in it.
    assert infer(server, "m", b"[").status == 200
    assert get(server, "/v1/models/m") == (200, {"name": "m", "ready": True})


def test_readiness_is_true(start_server: ServerFactory) -> None:
    server = start_server(
        "tensors", {"name": "sick", "handler": "refuses.py"}, config=ON, ready=False
    )
    wait_until(lambda: is_ready(server, "/v2/models/tensors/ready"), 30, "one is ready")
    for path in ("/v2/models/sick/ready", "/v1/models/sick", "/v2/health/ready"):
        status, told = get(server, path)
        assert (status, told["ready"]) == (503, False)


def test_requests_before_the_first_worker_become_arrays_too(start_server: ServerFactory) -> None:
    server = start_server({"name": "tensors", "handler": "slow_tensors.py"}, config=ON, ready=False)
    wait_until(lambda: is_ready(server, "/livez"), 30, "it listens")
    parameters = {"content_type": "base64"}
    text = {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["/w=="]}
    body = json.dumps({"inputs": [{**text, "parameters": parameters}, X]}).encode()
    answer = request(server.port, "POST", "/v2/models/tensors/infer", body)
    told: Any = answer.json()
    assert answer.status == 200
    assert told["outputs"] == [{**text, "parameters": parameters}, X]


def test_torchserves_package(typed: Server, channel: Any, stubs: SimpleNamespace) -> None:
    stub, pb = channel(typed), stubs.pb
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=20).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="tensors"), timeout=20).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=20).version
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="tensors"), timeout=20)
    assert (metadata.name, list(metadata.versions)) == ("tensors", ["1.0"])
    values: dict[str, tuple[str, list[Any]]] = {
        "BOOL": ("bool_contents", [True]),
        "INT8": ("int_contents", [-1]),
        "INT16": ("int_contents", [-1]),
        "INT32": ("int_contents", [-1]),
        "INT64": ("int64_contents", [-(2**63)]),
        "UINT8": ("uint_contents", [255]),
        "UINT16": ("uint_contents", [65535]),
        "UINT32": ("uint_contents", [2**32 - 1]),
        "UINT64": ("uint64_contents", [2**64 - 1]),
        "FP32": ("fp32_contents", [0.5]),
        "FP64": ("fp64_contents", [0.1]),
        "BYTES": ("bytes_contents", [b"\xff"]),
    }
    message = pb.ModelInferRequest(model_name="tensors", id="g")
    for datatype, (field, value) in values.items():
        tensor = message.inputs.add(name=datatype, datatype=datatype, shape=[1])
        getattr(tensor.contents, field).extend(value)
    answer = stub.ModelInfer(message, timeout=20)
    assert (answer.id, answer.model_name, answer.model_version) == ("g", "tensors", "1.0")
    assert not answer.raw_output_contents
    for output in answer.outputs:
        field, value = values[output.datatype]
        assert list(getattr(output.contents, field)) == value


def test_other_requests_to_a_typed_handler_are_as_ever(typed: Server, infer: Infer) -> None:
    answer = request(typed.port, "POST", "/predictions/tensors", b"x")
    assert json.loads(answer.body) == {"body": "bytearray"}
    refused = infer(typed, "tensors", {"inputs": [X], "parameters": {"do": "refuse"}})
    assert (refused.status, refused.phrase, refused.body) == (418, "teapot", b"short and stout")


@pytest.mark.parametrize("large", [False, True])
def test_batches_of_tensors_are_not_mixed_up(start_server: ServerFactory, large: bool) -> None:
    settings = {"minWorkers": 1, "batchSize": 8, "maxBatchDelay": 50}
    server = start_server({"name": "tensors", "settings": settings}, config=ON)
    size = 10_000 if large else 3
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        tail = bytes([number]) * size
        parameters = {"binary_data_size": size}
        entry = {"name": "x", "datatype": "UINT8", "shape": [size], "parameters": parameters}
        document = {"inputs": [entry], "parameters": {"binary_data_output": True}}
        answer = Infer()(server, "tensors", document, tail)
        answers[number] = answer.body.endswith(tail)

    for _ in range(5):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == dict.fromkeys(range(16), True)
        answers.clear()
