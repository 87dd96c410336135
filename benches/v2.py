"""How much faster the Open Inference Protocol with 1 MiB tensors is than under TorchServe.

    python benches/v2.py [--binary target/release/tserve] [--reference .venv-reference]

One client, one connection, one worker each; the request is written once and sent again and again.
TorchServe knows the protocol as JSON over REST and as typed fields over gRPC. tserve is asked in
the same ways, and with bytes (`Inference-Header-Content-Length`, `raw_input_contents`) where the
handler sets `typed_inputs`. Ends with status 1 when bytes are not faster than TorchServe.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib
import json
import os
import random
import shutil
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness.archives import build_archive  # noqa: E402
from harness.server import Server  # noqa: E402

ROWS = COLUMNS = 512
LIMIT = 64 << 20
PACKAGES = {
    "tserve": "inference",
    "torchserve": "org.pytorch.serve.grpc.openinference",
}
Call = Callable[[], bytes]


class Requests:
    """The request in every form, for one tensor of random numbers."""

    def __init__(self, folder: Path) -> None:
        generator = random.Random(7)
        numbers = [generator.random() for _ in range(ROWS * COLUMNS)]
        self.raw = struct.pack(f"<{len(numbers)}f", *numbers)
        self.numbers = list(struct.unpack(f"<{len(numbers)}f", self.raw))
        self.tensor = {"name": "x", "shape": [ROWS, COLUMNS], "datatype": "FP32"}
        self.messages = self._stubs(folder)

    def _stubs(self, folder: Path) -> Any:
        from grpc_tools import protoc

        proto = ROOT / "proto"
        words = ["protoc", f"--proto_path={proto}", f"--python_out={folder}"]
        if protoc.main([*words, str(proto / "open_inference.proto")]):
            raise RuntimeError("protoc failed")
        sys.path.insert(0, str(folder))
        return importlib.import_module("open_inference_pb2")

    def rest_json(self) -> tuple[bytes, dict[str, str]]:
        """JSON, all of it."""
        document = {"inputs": [{**self.tensor, "data": self.numbers}]}
        return json.dumps(document).encode(), {"Content-Type": "application/json"}

    def rest_binary(self) -> tuple[bytes, dict[str, str]]:
        """JSON and bytes; bytes back."""
        tensor = {**self.tensor, "parameters": {"binary_data_size": len(self.raw)}}
        document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        head = json.dumps(document).encode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        return head + self.raw, headers

    def message(self, *, is_raw: bool) -> bytes:
        """The message, with the elements in bytes or in a typed field."""
        message = self.messages.ModelInferRequest(model_name="v2")
        tensor = message.inputs.add(**self.tensor)
        if is_raw:
            message.raw_input_contents.append(self.raw)
        else:
            tensor.contents.fp32_contents.extend(self.numbers)
        encoded: bytes = message.SerializeToString()
        return encoded


@contextlib.contextmanager
def rest(server: Server, request: tuple[bytes, dict[str, str]]) -> Iterator[Call]:
    """A call over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body, headers = request

    def call() -> bytes:
        connection.request("POST", "/v2/models/v2/infer", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content[:300]!r}")
        return content

    yield call
    connection.close()


@contextlib.contextmanager
def grpc(server: Server, message: bytes, package: str) -> Iterator[Call]:
    """A call over one channel."""
    import grpc as library

    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", LIMIT),
        ("grpc.max_send_message_length", LIMIT),
    ]
    address = f"127.0.0.1:{server.grpc_ports[0]}"
    with library.insecure_channel(address, options) as channel:
        method = channel.unary_unary(f"/{package}.GRPCInferenceService/ModelInfer")
        yield lambda: method(message, timeout=60)


def measure(call: Call, seconds: float) -> float:
    """The median of a request in milliseconds, after some that do not count."""
    for _ in range(3):
        call()
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        begun = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


@contextlib.contextmanager
def serving(folder: Path, command: Path | None, *, is_typed: bool) -> Iterator[Server]:
    """A server with one worker of the handler."""
    store = folder / "store"
    handler = str(ROOT / "benches" / "handlers" / "v2.py")
    archive = build_archive(store, "v2", handler=handler)
    config = {
        "ts_open_inference_protocol": "true",
        "service_envelope": "kservev2",
        "max_request_size": LIMIT,
        "max_response_size": LIMIT,
    }
    environment = {"V2_TYPED": "1"} if is_typed else {}
    if command:
        environment["PATH"] = f"{command.parent}:{os.environ['PATH']}"
    server = Server(
        folder,
        command=[str(command)] if command else None,
        models=[archive.name],
        config=config,
        environment=environment,
    )
    try:
        yield server.start(seconds=90)
    finally:
        server.stop()


def run(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Milliseconds of a request by server and form."""
    requests = Requests(folder)
    found: dict[str, float] = {}

    def take(name: str, opened: contextlib.AbstractContextManager[Call]) -> None:
        with opened as call:
            found[name] = measure(call, options.seconds)
            print(f"{name:<42} {found[name]:8.2f} ms", flush=True)

    def compatible(name: str, server: Server) -> None:
        take(f"{name}: REST, JSON", rest(server, requests.rest_json()))
        message = requests.message(is_raw=False)
        take(f"{name}: gRPC, typed fields", grpc(server, message, PACKAGES[name]))

    reference = options.reference.resolve() / "bin" / "torchserve"
    if reference.exists() and shutil.which("java"):
        with serving(folder / "torchserve", reference, is_typed=False) as server:
            compatible("torchserve", server)
    with serving(folder / "tserve", None, is_typed=False) as server:
        compatible("tserve", server)
    with serving(folder / "typed", None, is_typed=True) as server:
        take("tserve, typed_inputs: REST, JSON", rest(server, requests.rest_json()))
        take("tserve, typed_inputs: REST, bytes", rest(server, requests.rest_binary()))
        message = requests.message(is_raw=True)
        take("tserve, typed_inputs: gRPC, bytes", grpc(server, message, PACKAGES["tserve"]))
    return found


def main() -> int:
    """Measures, and prints the factors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--binary", type=Path, help="server to measure (default: TSERVE_BIN or built)"
    )
    parser.add_argument("--reference", type=Path, default=ROOT / ".venv-reference")
    parser.add_argument("--seconds", type=float, default=4, help="per form")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.binary:
        os.environ["TSERVE_BIN"] = str(options.binary)
    with tempfile.TemporaryDirectory() as folder:
        found = run(options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if "torchserve: REST, JSON" not in found:
        print("no TorchServe to compare with (make reference; it needs Java)")
        return 0
    factors = {
        "REST": found["torchserve: REST, JSON"] / found["tserve, typed_inputs: REST, bytes"],
        "gRPC": found["torchserve: gRPC, typed fields"]
        / found["tserve, typed_inputs: gRPC, bytes"],
    }
    for protocol, factor in factors.items():
        print(f"{protocol}: {factor:.1f} times as fast as TorchServe")
    return int(min(factors.values()) <= 1)


if __name__ == "__main__":
    sys.exit(main())
