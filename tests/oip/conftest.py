"""Clients of the Open Inference Protocol: Triton's from PyPI, and plain requests."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import ServerFactory
from harness.client import Answer, request
from harness.server import Server

PROTO = Path(__file__).resolve().parents[2] / "proto"
ON = {"ts_open_inference_protocol": "true"}
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose models take typed inputs."""
    factory = ServerFactory(tmp_path_factory.mktemp("typed"))
    yield factory("tensors", {"name": "torchy", "handler": "torch_tensors.py"}, config=ON)
    for server in factory.servers:
        server.stop()


@pytest.fixture(scope="module")
def enveloped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model is behind TorchServe's envelope."""
    factory = ServerFactory(tmp_path_factory.mktemp("enveloped"))
    yield factory("enveloped", config={**ON, "service_envelope": "kservev2"})
    for server in factory.servers:
        server.stop()


def _client(name: str) -> ModuleType:
    with warnings.catch_warnings():
        # Its own affair: it is imported where warnings are errors.
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"tritonclient.{name}")


@pytest.fixture(scope="session")
def triton_http() -> ModuleType:
    """Triton's HTTP client."""
    return _client("http")


@pytest.fixture(scope="session")
def triton_grpc() -> ModuleType:
    """Triton's gRPC client."""
    return _client("grpc")


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Stubs of TorchServe's package, generated from the project's `proto/`."""
    protoc = pytest.importorskip("grpc_tools.protoc")
    out = tmp_path_factory.mktemp("oip-stubs")
    words = ["protoc", f"--proto_path={PROTO}", f"--python_out={out}", f"--grpc_python_out={out}"]
    # Another name than in the tests of tests/grpc, whose modules may be loaded already.
    assert protoc.main([*words, str(PROTO / "open_inference.proto")]) == 0
    sys.path.insert(0, str(out))
    try:
        pb = importlib.import_module("open_inference_pb2")
        service = importlib.import_module("open_inference_pb2_grpc")
    finally:
        sys.path.remove(str(out))
    return SimpleNamespace(pb=pb, service=service)


class Infer:
    """Requests for inference over REST, written by hand."""

    def __call__(
        self,
        server: Server,
        model: str,
        document: dict[str, Any] | bytes,
        tail: bytes = b"",
        **headers: str,
    ) -> Answer:
        """Posts a document and the bytes behind it."""
        head = document if isinstance(document, bytes) else json.dumps(document).encode()
        fields = {"Content-Type": "application/json"}
        if tail:
            fields = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        fields.update(headers)
        return request(server.port, "POST", f"/v2/models/{model}/infer", head + tail, fields)

    def error(self, server: Server, model: str, document: dict[str, Any], tail: bytes = b"") -> str:
        """What a request that breaks the protocol is told."""
        answer = self(server, model, document, tail)
        told: Any = answer.json()
        assert (answer.status, told["code"]) == (400, 400)
        assert told["error"] == told["message"]
        return str(told["error"])


@pytest.fixture
def infer() -> Infer:
    """`infer(server, model, document, tail)` posts a request."""
    return Infer()


@pytest.fixture
def channel(stubs: SimpleNamespace) -> Iterator[Any]:
    """`channel(server)` is a stub of TorchServe's package."""
    import grpc

    with contextlib.ExitStack() as stack:

        def connect(server: Server) -> Any:
            address = f"127.0.0.1:{server.grpc_ports[0]}"
            options = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1)]
            opened = stack.enter_context(grpc.insecure_channel(address, options))
            return stubs.service.GRPCInferenceServiceStub(opened)

        yield connect
