"""grpcio clients on stubs that are generated from the project's `proto/`."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")
protoc = pytest.importorskip("grpc_tools.protoc")

PROTO = Path(__file__).resolve().parents[2] / "proto"
# Neither a proxy of the machine nor grpcio's own 4 MiB limit.
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The modules `inference_pb2`, `inference_pb2_grpc` and so on, generated as users do it."""
    out = tmp_path_factory.mktemp("stubs")
    files = sorted(str(file) for file in PROTO.glob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    words = ["protoc", f"--proto_path={PROTO}", f"--proto_path={well_known}"]
    assert protoc.main([*words, f"--python_out={out}", f"--grpc_python_out={out}", *files]) == 0
    sys.path.insert(0, str(out))
    try:
        names = [file.stem for file in sorted(out.glob("*.py"))]
        yield SimpleNamespace(folder=out, **{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(out))


class Client:
    """Both stubs of one server, and short forms of the usual calls."""

    def __init__(self, stubs: SimpleNamespace, channels: list[Any]) -> None:
        self.pb = stubs.inference_pb2
        self.management_pb = stubs.management_pb2
        self.inference = stubs.inference_pb2_grpc.InferenceAPIsServiceStub(channels[0])
        self.management = stubs.management_pb2_grpc.ManagementAPIsServiceStub(channels[1])
        self.channels = channels

    def request(self, model: str, wish: object = None, **fields: Any) -> Any:
        """A request whose input `body` is the wish as JSON."""
        request = self.pb.PredictionsRequest(model_name=model, **fields)
        if wish is not None:
            request.input["body"] = wish if isinstance(wish, bytes) else json.dumps(wish).encode()
        return request

    def predict(self, model: str, wish: object = None, timeout: float = 30, **fields: Any) -> bytes:
        """The bytes that a model answers."""
        request = self.request(model, wish, **fields)
        answer: bytes = self.inference.Predictions(request, timeout=timeout).prediction
        return answer

    def manage(self, method: str, timeout: float = 60, **fields: Any) -> str:
        """The text that a management call answers."""
        call = getattr(self.management, method)
        name = "ScaleWorker" if method == "ScaleWorker" else method
        request = getattr(self.management_pb, f"{name}Request")(**fields)
        text: str = call(request, timeout=timeout).msg
        return text


class Connect:
    """Opens clients and closes them after the test."""

    def __init__(self, stubs: SimpleNamespace, stack: contextlib.ExitStack) -> None:
        self.stubs = stubs
        self.stack = stack

    def __call__(self, server: Any, credentials: Any = None, **options: object) -> Client:
        settings = [*OPTIONS, *((f"grpc.{name}", value) for name, value in options.items())]
        channels = []
        for port in server.grpc_ports:
            address = f"127.0.0.1:{port}"
            channel = (
                grpc.secure_channel(address, credentials, settings)
                if credentials
                else grpc.insecure_channel(address, settings)
            )
            channels.append(self.stack.enter_context(channel))
        return Client(self.stubs, channels)


@pytest.fixture
def connect(stubs: SimpleNamespace) -> Iterator[Connect]:
    """`connect(server)` is a client of its gRPC ports."""
    with contextlib.ExitStack() as stack:
        yield Connect(stubs, stack)


@contextlib.contextmanager
def refused(code: str, text: str | None = None) -> Iterator[None]:
    """Expects a call to end with a code and a description."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    found = (caught.value.code().name, caught.value.details())
    assert found == (code, found[1] if text is None else text)
