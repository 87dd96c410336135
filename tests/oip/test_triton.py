"""Triton's clients from PyPI against typed handlers and TorchServe's envelope."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from harness.server import Server

ml_dtypes = pytest.importorskip("ml_dtypes", reason="comes with Triton's client")
SAMPLES: dict[str, Any] = {
    "BOOL": np.array([[True], [False]]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([[-(2**63)], [2**63 - 1]], np.int64),
    "FP16": np.array([1.5, -0.25], np.float16),
    "BF16": np.array([1.5, -0.25], ml_dtypes.bfloat16),
    "FP32": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "FP64": np.array(0.1),
    "BYTES": np.array([b"", b"\x00\xff", "é".encode()], dtype=np.object_),
}


def tensor(module: ModuleType, name: str, datatype: str, array: Any) -> Any:
    made = module.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def check(answer: Any, datatypes: dict[str, str]) -> None:
    described = answer.get_response()
    outputs = described["outputs"] if isinstance(described, dict) else described.outputs
    for output in outputs:
        is_dict = isinstance(output, dict)
        name = output["name"] if is_dict else output.name
        # numpy has no BF16: it arrives as FP32, which the handler sends back.
        expected = "FP32" if datatypes[name] == "BF16" else datatypes[name]
        assert (output["datatype"] if is_dict else output.datatype) == expected
        found = answer.as_numpy(name)
        assert found.shape == SAMPLES[name].shape, name
        np.testing.assert_array_equal(found, SAMPLES[name].astype(found.dtype))
    assert len(outputs) == len(datatypes)


@pytest.fixture
def http(typed: Server, triton_http: ModuleType) -> Any:
    with triton_http.InferenceServerClient(f"127.0.0.1:{typed.port}") as client:
        yield client


@pytest.fixture
def grpc(typed: Server, triton_grpc: ModuleType) -> Any:
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{typed.grpc_ports[0]}") as client:
        yield client


@pytest.mark.parametrize("is_binary", [True, False])
def test_all_datatypes_over_http(http: Any, triton_http: ModuleType, is_binary: bool) -> None:
    inputs = [tensor(triton_http, name, name, array) for name, array in SAMPLES.items()]
    outputs = None
    if not is_binary:
        # Only JSON back; without outputs this client asks for bytes.
        outputs = [triton_http.InferRequestedOutput(name, binary_data=False) for name in SAMPLES]
        outputs = [it for it in outputs if it.name() not in ("BYTES", "FP16")]
    answer = http.infer("tensors", inputs, outputs=outputs, request_id="r-1")
    assert answer.get_response()["id"] == "r-1"
    assert answer.get_response()["model_version"] == "1.0"
    names = [it.name() for it in outputs] if outputs else list(SAMPLES)
    check(answer, {name: name for name in names})


def test_all_datatypes_over_grpc(grpc: Any, triton_grpc: ModuleType) -> None:
    inputs = [tensor(triton_grpc, name, name, array) for name, array in SAMPLES.items()]
    answer = grpc.infer("tensors", inputs, request_id="r-2", model_version="1.0")
    assert answer.get_response().id == "r-2"
    check(answer, {name: name for name in SAMPLES})
    chosen = [triton_grpc.InferRequestedOutput("FP64")]
    check(grpc.infer("tensors", inputs, outputs=chosen), {"FP64": "FP64"})


def test_torch_gets_every_type_it_has(
    typed: Server, triton_grpc: ModuleType, triton_http: ModuleType
) -> None:
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{typed.grpc_ports[0]}") as client:
        inputs = [tensor(triton_grpc, name, name, array) for name, array in SAMPLES.items()]
        answer = client.infer("torchy", inputs)
    kinds = [bytes(it).decode() for it in answer.as_numpy("kinds")]
    expected = [f"torch.{name.lower().replace('fp', 'float')}" for name in SAMPLES]
    for datatype, dtype in (("BF16", "torch.bfloat16"), ("BYTES", "object")):
        expected[list(SAMPLES).index(datatype)] = dtype
    assert kinds == expected
    for output in answer.get_response().outputs:
        if output.name != "kinds":
            assert output.datatype == output.name
            np.testing.assert_array_equal(answer.as_numpy(output.name), SAMPLES[output.name])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_servers_and_models_say_of_themselves(
    request: pytest.FixtureRequest, protocol: str
) -> None:
    client = request.getfixturevalue(protocol)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tensors")
    assert client.is_model_ready("tensors", "1.0")
    server, model = client.get_server_metadata(), client.get_model_metadata("tensors", "1.0")
    if protocol == "http":
        assert server["extensions"] == ["binary_tensor_data"]
        assert (model["name"], model["versions"]) == ("tensors", ["1.0"])
    else:
        assert list(server.extensions) == ["binary_tensor_data"]
        assert (model.name, list(model.versions)) == ("tensors", ["1.0"])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_errors_are_the_clients_own(request: pytest.FixtureRequest, protocol: str) -> None:
    module = request.getfixturevalue(f"triton_{protocol}")
    client = request.getfixturevalue(protocol)
    utils = pytest.importorskip("tritonclient.utils")
    inputs = [tensor(module, "x", "FP32", np.zeros(3, np.float32))]

    def failure(model: str = "tensors", **options: Any) -> tuple[str, str]:
        with pytest.raises(utils.InferenceServerException) as caught:
            client.infer(model, inputs, **options)
        return str(caught.value.status()), str(caught.value.message())

    status = {
        "http": ("404", "400", "503"),
        "grpc": ("NOT_FOUND", "INVALID_ARGUMENT", "UNAVAILABLE"),
    }
    missing, bad, failed = status[protocol]
    code, text = failure("nobody")
    assert (missing in code, text) == (True, "Model not found: nobody")
    code, text = failure(outputs=[module.InferRequestedOutput("y")])
    assert (bad in code, text) == (True, 'The model has no output "y"; it has x')
    code, text = failure(parameters={"do": "raise"})
    assert (failed in code, text) == (True, "Prediction failed")
    code, text = failure(parameters={"do": "complex"})
    assert (failed in code, text) == (True, "Unsupported model output data type.")
    inputs[0].set_shape([4])
    code, text = failure()
    assert bad in code
    assert "12 bytes where the shape has 16" in text


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_results_of_other_forms(request: pytest.FixtureRequest, protocol: str) -> None:
    module = request.getfixturevalue(f"triton_{protocol}")
    client = request.getfixturevalue(protocol)
    x, y = np.arange(3, dtype=np.int32), np.zeros((0, 2), np.float64)
    inputs = [tensor(module, "x", "INT32", x), tensor(module, "y", "FP64", y)]

    def ask(do: str, *outputs: str) -> Any:
        wanted = [module.InferRequestedOutput(name) for name in outputs] or None
        return client.infer("tensors", inputs, outputs=wanted, parameters={"do": do})

    assert list(ask("one").as_numpy("output_0")) == [0, 1, 2]
    assert list(ask("one", "mine").as_numpy("mine")) == [0, 1, 2]
    assert ask("several").as_numpy("output_1").shape == (0, 2)
    scalars = ask("scalars")
    assert scalars.as_numpy("number") == 1.5
    assert list(scalars.as_numpy("list")) == [1, 2]
    assert scalars.as_numpy("flag").dtype == np.bool_
    assert [scalars.as_numpy(name).item() for name in ("text", "bytes")] == ["é".encode(), b"\xff"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_arrays_are_views_that_nobody_may_write(
    request: pytest.FixtureRequest, protocol: str
) -> None:
    module = request.getfixturevalue(f"triton_{protocol}")
    client = request.getfixturevalue(protocol)
    utils = pytest.importorskip("tritonclient.utils")
    for size in (3, 300_000):
        inputs = [tensor(module, "x", "FP32", np.zeros(size, np.float32))]
        told = client.infer("tensors", inputs, parameters={"do": "describe"})
        expect = {"type": "ndarray", "dtype": "float32", "writeable": "False", "owns": "False"}
        for what, value in {**expect, "aligned": "True"}.items():
            assert told.as_numpy(f"x.{what}").item().decode() == value, (what, size)
        with pytest.raises(utils.InferenceServerException, match="Prediction failed"):
            client.infer("tensors", inputs, parameters={"do": "write"})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_torchserves_envelope_gets_what_it_knows(
    request: pytest.FixtureRequest, enveloped: Server, protocol: str
) -> None:
    module = request.getfixturevalue(f"triton_{protocol}")
    port = enveloped.port if protocol == "http" else enveloped.grpc_ports[0]
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        numbers = np.arange(4, dtype=np.float32)
        for datatype, array in (("FP32", numbers), ("FP16", numbers.astype(np.float16))):
            answer = client.infer("enveloped", [tensor(module, "x", datatype, array)])
            assert list(answer.as_numpy("x")) == [0, 2, 4, 6]
        text = np.array([b"hello"], dtype=np.object_)
        answer = client.infer("enveloped", [tensor(module, "t", "BYTES", text)])
        assert [bytes(it) for it in answer.as_numpy("t")] == [b"aGVsbG8="]


def test_json_stays_torchserves(enveloped: Server, infer: Any) -> None:
    document = {
        "id": "7",
        "inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [1, 2]}],
    }
    answer = infer(enveloped, "enveloped", document)
    assert "content-type" not in answer.headers
    assert json.loads(answer.body) == {
        "id": "7",
        "model_name": "enveloped",
        "model_version": "1.0",
        "outputs": [{"name": "x", "datatype": "INT64", "data": [2, 4], "shape": [2]}],
    }
    asked = {**document, "parameters": {"binary_data_output": True}}
    answer = infer(enveloped, "enveloped", asked)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.body[length:] == np.array([2, 4]).tobytes()
