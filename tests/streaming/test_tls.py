"""Answers in parts over TLS: HTTP/1.1, HTTP/2 and gRPC."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from pathlib import Path

import httpx
import pytest
from conftest import ServerFactory
from harness.http2 import Http2
from harness.processes import wait_until
from harness.server import Server, free_ports
from harness.streams import parts

PATH = "/predictions/streamer"
COUNT = 5
LARGE = 1 << 20


@pytest.fixture
def server(
    start_server: ServerFactory, key_and_certificate: tuple[Path, Path]
) -> tuple[Server, Path]:
    """A server that speaks nothing but TLS, and its certificate."""
    key, certificate = key_and_certificate
    (port,) = free_ports(1)
    started = start_server(
        "streamer",
        "rpc",
        ready=False,
        config={
            "inference_address": f"https://127.0.0.1:{port}",
            "enable_grpc_ssl": "true",
            "private_key_file": key,
            "certificate_file": certificate,
        },
    )
    started.port = port

    def is_ready() -> bool:
        with contextlib.suppress(OSError):
            return started.manage("GET", "/readyz").status == 200
        return False

    wait_until(is_ready, 60, "the model is loaded")
    return started, certificate


def trust(certificate: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(list(protocols))
    return context


def test_http_1_1(server: tuple[Server, Path], tmp_path: Path) -> None:
    started, certificate = server
    gate = tmp_path / "gate"
    context = trust(certificate, "http/1.1")
    connection = http.client.HTTPSConnection("127.0.0.1", started.port, context=context, timeout=30)
    spec = f'{{"tag": "a", "n": {COUNT}, "gate": "{gate}"}}'
    connection.request("POST", PATH, spec, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["transfer-encoding"]) == (200, "chunked")
    # The handler sends nothing more before it sees the file.
    assert answer.read1() == b"a:0;"
    gate.touch()
    assert answer.read() == b"".join(parts("a", COUNT)[1:])
    spec = f'{{"n": 3, "size": {LARGE}}}'
    connection.request("POST", PATH, spec, {"Content-Type": "application/json"})
    assert len(connection.getresponse().read()) == 3 * LARGE + len("end")
    connection.close()


def test_http_2(server: tuple[Server, Path], tmp_path: Path) -> None:
    started, certificate = server
    gate = tmp_path / "gate"
    with Http2(started.port, context=trust(certificate, "h2")) as connection:
        assert connection.tls_protocol == "h2"
        stream = connection.ask(PATH, {"tag": "a", "n": COUNT, "gate": str(gate)})
        frames = connection.parts(stream)
        assert next(frames) == b"a:0;"
        gate.touch()
        assert list(frames) == parts("a", COUNT)[1:]
        streams = [connection.ask(PATH, {"tag": f"s{number}", "n": 9}) for number in range(8)]
        for number, stream in enumerate(streams):
            assert connection.answer(stream).parts == parts(f"s{number}", 9)
        large = connection.answer(connection.ask(PATH, {"n": 3, "size": LARGE}))
        assert len(large.body) == 3 * LARGE + len("end")
        # One that nobody reads, and one that breaks, cost the others nothing.
        held = connection.ask(PATH, {"n": 50, "size": LARGE})
        connection.held.add(held)
        connection.until(lambda: len(connection.answers[held].body) >= 65535)
        connection.cancel(held)
        broken = connection.answer(connection.ask(PATH, {"n": 3, "fail_at": 1}))
        assert broken.reset == 8
        assert connection.answer(connection.ask(PATH, {"n": 0})).body == b"end"


def test_events_with_httpx(server: tuple[Server, Path]) -> None:
    started, certificate = server
    address = f"https://127.0.0.1:{started.port}{PATH}"
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        with (
            httpx.Client(http2=http2, verify=trust(certificate), trust_env=False) as client,
            client.stream(
                "POST", address, json={"tag": "a", "n": 2}, headers={"accept": "text/event-stream"}
            ) as answer,
        ):
            assert answer.http_version == version
            lines = [line for line in answer.iter_lines() if line]
        assert lines == ["data: a:0;", "data: a:1;", "data: end", "event: end", "data: "]


def test_grpc(server: tuple[Server, Path]) -> None:
    grpc = pytest.importorskip("grpc")
    started, certificate = server
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    method = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions"
    # A PredictionsRequest by hand: model_name = 1, input = 3 { key = 1, value = 2 }.
    entry = field(1, b"body") + field(2, b'{"parts": 5, "answer": "end"}')
    request = field(1, b"rpc") + field(3, entry)
    options = [("grpc.enable_http_proxy", 0)]
    address = f"127.0.0.1:{started.grpc_ports[0]}"
    with grpc.secure_channel(address, credentials, options) as channel:
        messages = channel.unary_stream(method)(request, timeout=30)
        expected = [*(f"part {number}".encode() for number in range(5)), b"end"]
        assert list(messages) == [field(1, part) for part in expected]


def field(number: int, value: bytes) -> bytes:
    """A protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value
