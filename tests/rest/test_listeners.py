"""Listeners: shared addresses, unix sockets, TLS, CORS, limits, clients that leave."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ServerFactory
from harness.client import open_socket, read_to_end, request
from harness.processes import wait_until
from harness.server import Server, free_ports

REFUSAL = "This TorchServe instance only accepts HTTPS requests"


def test_metrics_are_empty_in_log_mode(start_server: ServerFactory) -> None:
    server = start_server()
    for path in ("/metrics", "/metrics/anything?name[]=x"):
        answer = request(server.metrics_port, "BREW", path)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert request(server.metrics_port, "GET", "/ping").status == 404


def test_one_address_for_both_apis(start_server: ServerFactory) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    server = start_server(
        "noop", ready=False, config={"inference_address": address, "management_address": address}
    )
    server.port = server.management_port = port
    server.wait_until_serving()
    assert server.predict("noop").status == 200
    assert server.model_names() == ["noop"]
    assert server.manage("GET", "/models/noop").status == 200
    # Versions are hidden by the inference routes, except for the last of these.
    assert server.manage("GET", "/models/noop/1.0").status == 404
    assert server.manage("PUT", "/models/noop/1.0/set-default").status == 200
    assert server.manage("GET", "/metrics").status == 200


def test_one_port_for_everything(start_server: ServerFactory) -> None:
    (port,) = free_ports(1)
    names = ("inference_address", "management_address", "metrics_address")
    address = f"http://127.0.0.1:{port}"
    server = start_server("noop", ready=False, config=dict.fromkeys(names, address))
    server.port = server.management_port = port
    server.wait_until_serving()
    assert server.predict("noop").status == 200
    assert server.manage("GET", "/models/noop").status == 200
    assert server.get("/metrics").status == 200
    assert server.log().count("API bind to: http://") == 1, "the others speak gRPC"


def test_unix_socket_is_served_and_removed(start_server: ServerFactory, tmp_path: Path) -> None:
    path = tmp_path / "inference.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(path))
    server = start_server("noop", ready=False, config={"inference_address": f"unix:{path}"})

    def predict() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            connection.sendall(b"GET /predictions/noop HTTP/1.1\r\n\r\n")
            return connection.recv(1000)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return predict().startswith(b"HTTP/1.1 200 ")
        return False

    wait_until(answers, 60, "the socket answers")
    line = '127.0.0.1 "GET /predictions/noop HTTP/1.1" 200'
    wait_until(lambda: line in server.log_file("access_log.log"), 10, "the access is logged")
    server.terminate()
    assert not path.exists()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("form", ["PKCS#8", "PKCS#1"])
def test_tls(
    start_server: ServerFactory,
    key_and_certificate: tuple[Path, Path],
    version: ssl.TLSVersion,
    form: str,
) -> None:
    key, certificate = key_and_certificate
    if form == "PKCS#1":
        words = ["openssl", "rsa", "-traditional", "-in", str(key), "-out", str(key)]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
    (port,) = free_ports(1)
    server = start_server(
        "noop",
        ready=False,
        config={
            "inference_address": f"https://127.0.0.1:{port}",
            "private_key_file": key,
            "certificate_file": certificate,
        },
    )
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = version

    def is_serving() -> bool:
        with contextlib.suppress(OSError):
            return request(port, "GET", "/ping").status == 403
        return False

    wait_until(is_serving, 60, "the port answers")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    with contextlib.closing(connection):
        for size in (1, 1_000_000):
            connection.request("POST", "/predictions/noop", b"x" * size)
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
    plain = request(port, "POST", "/predictions/noop", b"x" * 1000)
    assert (plain.status, plain.phrase, plain.json()) == (403, "Forbidden", {"status": REFUSAL})
    assert "x-request-id" not in plain.headers
    assert server.is_running()


def test_cors_headers_on_every_answer(start_server: ServerFactory) -> None:
    server = start_server(
        "noop",
        config={
            "cors_allowed_origin": "https://example.test",
            "cors_allowed_methods": "GET, POST",
            "cors_allowed_headers": "",
        },
    )
    for path in ("/ping", "/predictions/noop", "/nothing"):
        headers = server.get(path).headers
        assert headers["access-control-allow-origin"] == "https://example.test"
        assert headers["access-control-allow-methods"] == "GET, POST"
        assert "access-control-allow-headers" not in headers


def test_request_size_is_inclusive_and_refused_before_it_is_read(
    start_server: ServerFactory,
) -> None:
    server = start_server("counted", config={"max_request_size": 50_000})
    assert server.predict("counted", b"x" * 50_000).body == b"x" * 50_000
    with open_socket(server.port) as connection:
        connection.sendall(b"POST /predictions/counted HTTP/1.1\r\nContent-Length: 50001\r\n\r\n")
        bare = b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n"
        assert connection.recv(1000) == bare
        connection.sendall(b"x" * 50_001 + b"GET /ping HTTP/1.1\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert " 413 " not in server.log_file("access_log.log")


def test_client_that_only_stops_sending_gets_its_answer(start_server: ServerFactory) -> None:
    server = start_server("sleeper")
    with open_socket(server.port) as connection:
        connection.sendall(b"POST /predictions/sleeper HTTP/1.1\r\nContent-Length: 3\r\n\r\n0.3")
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_nobody_computes_for_clients_that_hung_up(start_server: ServerFactory) -> None:
    server = start_server("sleeper")
    line = b"POST /predictions/sleeper HTTP/1.1\r\nContent-Length: 1\r\n\r\n2"
    connections = [open_socket(server.port) for _ in range(5)]
    for connection in connections:
        connection.sendall(line)
        time.sleep(0.1)
    for connection in connections:
        connection.close()
    begun = time.monotonic()
    assert server.predict("sleeper", b"0").status == 200
    # The first runs and the second may have been handed over ahead of time; together 4 of 10 s.
    assert time.monotonic() - begun < 6


def test_describes_itself(start_server: ServerFactory) -> None:
    server = start_server()
    for method, path in [
        ("OPTIONS", "/"),
        ("GET", "/api-description"),
        ("PUT", "/api-description/"),
    ]:
        document = json.loads(request(server.port, method, path).body)
        assert document["openapi"] == "3.0.1"
        assert "/predictions/{model_name}" in document["paths"]
    refused = server.get("/")
    assert refused.status == 405
    assert refused.message() == "Requested method is not allowed, please refer to API document."


def test_a_stopping_server_answers_what_it_has_begun(start_server: ServerFactory) -> None:
    server: Server = start_server("sleeper")
    with open_socket(server.port) as connection, open_socket(server.port) as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"POST /predictions/sleeper HTTP/1.1\r\nContent-Length: 1\r\n\r\n1")
        time.sleep(0.3)
        assert server.terminate() == 0
        answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert idle.recv(1000) == b""
