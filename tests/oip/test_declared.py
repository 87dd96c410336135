"""Models whose archives declare their tensors: metadata for clients, and requests that differ."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ServerFactory
from harness.server import Server

INPUTS = [
    {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
    {"name": "scale", "datatype": "INT64", "shape": [1]},
]
OUTPUTS = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
DECLARED = {
    "platform": "pytorch",
    "inputs": [INPUTS[0], {**INPUTS[1], "optional": True}],
    "outputs": OUTPUTS,
}
X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
SCALE = {"name": "scale", "datatype": "INT64", "shape": [1], "data": [2]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    factory = ServerFactory(tmp_path_factory.mktemp("declared"))
    yield factory(
        {"name": "tensors", "settings": {"openInference": DECLARED}},
        {"name": "vague", "handler": "tensors.py", "settings": {"openInference": {"inputs": "x"}}},
        config={"ts_open_inference_protocol": "true"},
    )
    for started in factory.servers:
        started.stop()


def test_metadata_name_the_tensors(
    server: Server, triton_http: ModuleType, triton_grpc: ModuleType
) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        told = client.get_model_metadata("tensors")
    assert told["platform"] == "pytorch"
    assert (told["inputs"], told["outputs"]) == (INPUTS, OUTPUTS)
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_ports[0]}") as client:
        heard = client.get_model_metadata("tensors", "1.0")
    assert heard.platform == "pytorch"
    found = [(it.name, it.datatype, list(it.shape)) for it in heard.inputs]
    assert found == [tuple(it.values()) for it in INPUTS]
    assert [it.name for it in heard.outputs] == ["x"]


def test_what_fits_is_answered(server: Server, triton_http: ModuleType, infer: Any) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        x = triton_http.InferInput("x", [2, 3], "FP32")
        x.set_data_from_numpy(np.ones((2, 3), np.float32))
        answer = client.infer("tensors", [x])
    np.testing.assert_array_equal(answer.as_numpy("x"), np.ones((2, 3), np.float32))
    assert infer(server, "tensors", {"inputs": [X, SCALE]}).status == 200


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"inputs": [SCALE]}, 'input "x" is missing'),
        ({"inputs": [X, {**X, "name": "z"}]}, 'no input "z"; it has x, scale'),
        ({"inputs": [{**X, "datatype": "FP64"}]}, 'input "x" is FP64; the model takes FP32'),
        (
            {"inputs": [{**X, "shape": [3, 2]}]},
            'input "x" has the shape [3, 2]; the model takes [-1, 3]',
        ),
        ({"inputs": [{**X, "shape": [6]}]}, "has the shape [6]"),
        ({"inputs": [X], "outputs": [{"name": "y"}]}, 'no output "y"; it has x'),
    ],
)
def test_what_does_not_fit_is_refused_before_the_handler(
    server: Server, infer: Any, document: dict[str, Any], told: str
) -> None:
    assert told in infer.error(server, "tensors", document)


def test_grpc_refuses_with_the_codes_of_the_protocol(
    server: Server, stubs: SimpleNamespace, channel: Any
) -> None:
    import grpc

    pb = stubs.pb
    tensor = pb.ModelInferRequest.InferInputTensor(name="z", datatype="FP32", shape=[1])
    message = pb.ModelInferRequest(model_name="tensors", inputs=[tensor])
    message.raw_input_contents.append(b"\0\0\0\0")
    with pytest.raises(grpc.RpcError) as caught:
        channel(server).ModelInfer(message, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert 'no input "z"' in caught.value.details()


def test_a_declaration_that_makes_no_sense_is_reported_and_ignored(
    server: Server, infer: Any
) -> None:
    assert "Invalid openInference" in server.log(10**6)
    anything = {"name": "z", "datatype": "BOOL", "shape": [1], "data": [True]}
    assert infer(server, "vague", {"inputs": [anything]}).status == 200
