"""HTTP/2 on the REST ports: real clients, the same answers as over HTTP/1.1, orderly ends."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import ServerFactory
from harness.client import open_socket, read_to_end, request
from harness.http2 import PREFACE, Http2
from harness.processes import wait_until
from harness.server import Server, free_ports

ARCHIVES = ["counted", "echo", "respond", "sleeper"]
# The connection's own, and what is never the same.
LEFT_OUT = {"connection", "transfer-encoding", "x-request-id", "date"}


def curl(*words: str, data: bytes | None = None) -> tuple[str, bytes]:
    """What curl's `-w` says of the connection, and the body."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    mark = b"\n--"
    told = "--%{http_version} %{http_code}"
    command = ["curl", "-sS", "--max-time", "30", "-w", "\n" + told, *words]
    if data is not None:
        command += ["-H", "content-type: application/octet-stream", "--data-binary", "@-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    if b"does not support" in done.stderr:
        pytest.skip("this curl has no HTTP/2")
    assert done.returncode == 0, done.stderr
    body, _, said = done.stdout.rpartition(mark)
    return said.decode(), body


@pytest.fixture
def tls_server(
    start_server: ServerFactory, key_and_certificate: tuple[Path, Path]
) -> tuple[Server, ssl.SSLContext]:
    """A server whose three REST ports speak TLS, and what a client needs to trust it."""
    key, certificate = key_and_certificate
    ports = free_ports(3)
    addresses = ("inference_address", "management_address", "metrics_address")
    config: dict[str, object] = {
        name: f"https://127.0.0.1:{port}" for name, port in zip(addresses, ports, strict=True)
    }
    config |= {"private_key_file": key, "certificate_file": certificate}
    server = start_server("counted", "streamer", ready=False, config=config)
    server.port, server.management_port, server.metrics_port = ports
    context = ssl.create_default_context(cafile=str(certificate))

    def is_ready() -> bool:
        with (
            contextlib.suppress(OSError, httpx.HTTPError),
            httpx.Client(verify=context, trust_env=False) as client,
        ):
            return client.get(f"https://127.0.0.1:{ports[0]}/readyz").status_code == 200
        return False

    wait_until(is_ready, 60, "the server is ready")
    return server, context


def test_curl_with_prior_knowledge(shared_server: Server) -> None:
    for port, path in [
        (shared_server.port, "/ping"),
        (shared_server.management_port, "/models"),
        (shared_server.metrics_port, "/metrics"),
    ]:
        said, body = curl("--http2-prior-knowledge", f"http://127.0.0.1:{port}{path}")
        assert said == "2 200"
        assert body == request(port, "GET", path).body
    address = f"http://127.0.0.1:{shared_server.port}/predictions/counted"
    large = bytes(range(256)) * 8000
    assert curl("--http2-prior-knowledge", address, data=large) == ("2 200", large)
    # Without prior knowledge nothing changes: the offer to upgrade is ignored.
    assert curl("--http2", address, data=b"x") == ("1.1 200", b"x")


def test_curl_and_httpx_agree_on_http2_over_tls(
    tls_server: tuple[Server, ssl.SSLContext], key_and_certificate: tuple[Path, Path]
) -> None:
    server, context = tls_server
    certificate = str(key_and_certificate[1])
    address = f"https://127.0.0.1:{server.port}/predictions/counted"
    assert curl("--http2", "--cacert", certificate, address, data=b"x") == ("2 200", b"x")
    assert curl("--http1.1", "--cacert", certificate, address, data=b"x") == ("1.1 200", b"x")
    with httpx.Client(http2=True, verify=context, trust_env=False) as client:
        for port, path in [
            (server.port, "/ping"),
            (server.management_port, "/models"),
            (server.metrics_port, "/metrics"),
        ]:
            answer = client.get(f"https://127.0.0.1:{port}{path}")
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
        for body in (b"", b"x", b"y" * 3_000_000):
            answer = client.post(address, content=body)
            assert (answer.http_version, answer.content) == ("HTTP/2", body)
        pieces = client.post(address, content=iter([b"one ", b"two"]))
        assert pieces.content == b"one two"
    line = '"POST /predictions/counted HTTP/2.0" 200'
    wait_until(lambda: line in server.log_file("access_log.log"), 10, "the access is logged")


def test_answers_are_those_of_http_1(shared_server: Server) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    with Http2(shared_server.port) as connection:
        for method, path, body, headers in [
            ("GET", "/ping", None, {}),
            ("HEAD", "/ping", None, {}),
            ("GET", "/nothing", None, {}),
            ("GET", "/", None, {}),
            ("OPTIONS", "/", None, {}),
            ("OPTIONS", "*", None, {}),
            ("GET", "/ping%zz", None, {}),
            ("GET", "/models/x/1.0", None, {}),
            ("POST", "/predictions/none", b"x" * 100_000, {}),
            ("POST", "/predictions/counted", b"x" * 1_000_000, {}),
            ("BREW", "/predictions/counted", b"tea", {}),
            ("POST", "/predictions/counted/9", b"x", {}),
            ("POST", "/predictions/echo", b"a=%zz", form),
            ("POST", "/predictions/counted", b"x" * 7_000_000, {}),
            ("POST", "/ping", b"x", {"expect": "tea"}),
        ]:
            mine = connection.answer(connection.ask(path, body, method=method, headers=headers))
            theirs = request(shared_server.port, method, path, body, headers)
            expected = {k: v for k, v in theirs.headers.items() if k not in LEFT_OUT}
            found = {k: v for k, v in mine.headers.items() if k not in LEFT_OUT}
            if theirs.status in (413, 417):
                expected.pop("content-length")
            assert (mine.status, found) == (theirs.status, expected), path
            assert mine.body == theirs.body, path
        assert not connection.is_closed, "errors end streams, not connections"


def test_what_a_handler_sees_and_sets(start_server: ServerFactory) -> None:
    server = start_server("rpc")
    with Http2(server.port) as connection:
        # A client may send a cookie in pieces; a mapping of headers has no room for that.
        fields = [("x-name", "Value"), ("cookie", "a=1"), ("cookie", "b=2")]
        stream = connection.ask("/predictions/rpc", b"{}", headers=fields)
        told = connection.answer(stream).json()
        assert isinstance(told, dict)
        assert {
            "x-name": "Value",
            "cookie": "a=1; b=2",
            "host": "t",
            "content-length": "2",
            "explain": "False",
        }.items() <= told["headers"].items()
        wish = json.dumps({"status": 418, "answer": "tea"}).encode()
        answer = connection.answer(connection.ask("/predictions/rpc", wish))
        assert (answer.status, answer.body, answer.headers["x-odd"]) == (418, b"tea", "yes")


def test_many_at_once_on_one_connection(shared_server: Server) -> None:
    bodies = [bytes([number]) * (1 + number * 997) for number in range(90)]
    with Http2(shared_server.port) as connection:
        streams = [connection.ask("/predictions/counted", body) for body in bodies]
        # Answered in whatever order, each to its own request.
        for stream, body in zip(streams, bodies, strict=True):
            assert connection.answer(stream).body == body
        ids = {connection.answers[stream].headers["x-request-id"] for stream in streams}
    assert len(ids) == 90


def test_one_slow_answer_holds_up_no_other(shared_server: Server) -> None:
    with Http2(shared_server.port) as connection:
        slow = connection.ask("/predictions/sleeper", b"1")
        quick = [connection.ask("/predictions/counted", b"x") for _ in range(10)]
        for stream in quick:
            assert connection.answer(stream).body == b"x"
        assert not connection.answers[slow].is_over
        assert connection.answer(slow).status == 200


def test_nobody_computes_for_requests_that_were_given_up(start_server: ServerFactory) -> None:
    server = start_server("sleeper", "counted")
    with Http2(server.port) as connection:
        streams = [connection.ask("/predictions/sleeper", b"2") for _ in range(6)]
        assert connection.answer(connection.ask("/predictions/counted", b"x")).body == b"x"
        for stream in streams:
            connection.cancel(stream)
        wait_until(
            lambda: connection.answer(connection.ask("/predictions/sleeper", b"0")).status == 200,
            # One ran and one may have been handed over ahead of time; together 4 of 12 s.
            8,
            "the model is free",
        )


def test_tokens_are_asked_for_before_a_body_is_read(start_server: ServerFactory) -> None:
    server = start_server("counted", ready=False, flags=("--ncs",))
    wait_until(lambda: "Model server started" in server.log(), 60, "it has started")
    key = json.loads((server.working / "key_file.json").read_text())["inference"]["key"]
    with Http2(server.port) as connection:
        stream = connection.ask("/predictions/counted", b"x" * 50, ends=False)
        refused = connection.answer(stream)
        assert (refused.status, refused.json()["type"]) == (400, "InvalidKeyException")  # type: ignore[index]
        bearer = {"authorization": f"Bearer {key}"}
        wait_until(
            lambda: connection.get("/ping", headers=bearer).json() == {"status": "Healthy"},
            60,
            "the model is loaded",
        )
        answer = connection.answer(connection.ask("/predictions/counted", b"x", headers=bearer))
        assert answer.body == b"x"


def test_cors_unix_sockets_and_one_port_for_everything(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    path, (port,) = tmp_path / "rest.sock", free_ports(1)
    server = start_server(
        "counted",
        ready=False,
        config={
            "inference_address": f"http://127.0.0.1:{port}",
            "management_address": f"http://127.0.0.1:{port}",
            "metrics_address": f"unix:{path}",
            "cors_allowed_origin": "https://example.test",
        },
    )
    server.port = server.management_port = port
    server.wait_until_serving()
    with Http2(port) as connection:
        answer = connection.answer(connection.ask("/predictions/counted", b"x"))
        assert answer.body == b"x"
        assert answer.headers["access-control-allow-origin"] == "https://example.test"
        assert connection.get("/models/counted").status == 200
    said, _ = curl("--http2-prior-knowledge", "--unix-socket", str(path), "http://t/metrics")
    assert said == "2 200"


def test_the_preface_is_only_for_the_beginning(shared_server: Server) -> None:
    with open_socket(shared_server.port) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\n\r\n" + PREFACE)
        answers = read_to_end(connection)
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 Bad Request" in answers


def test_a_stopping_server_answers_what_it_has_begun(start_server: ServerFactory) -> None:
    server = start_server("sleeper")
    with Http2(server.port) as busy, Http2(server.port) as idle:
        assert idle.get("/ping").status == 200
        stream = busy.ask("/predictions/sleeper", b"1")
        # Its head has been seen when somebody who came later is answered.
        assert busy.get("/ping").status == 200
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(server.terminate)
            idle.until_closed()
            assert idle.goaway == 0
            assert busy.answer(stream).status == 200
            busy.until_closed()
            assert busy.goaway == 0
            assert stopping.result(30) == 0


def test_a_stop_does_not_wait_for_a_client_that_takes_no_note(start_server: ServerFactory) -> None:
    server = start_server("counted", config={"drain_timeout": 20})
    connection = Http2(server.port)
    assert connection.get("/ping").status == 200
    with contextlib.closing(connection.socket), open_socket(server.port) as half:
        half.sendall(PREFACE[:20])
        # Neither of them reads or writes any more.
        assert server.terminate() == 0


def test_idle_connections_are_closed(start_server: ServerFactory) -> None:
    server = start_server("sleeper", config={"client_idle_timeout": 1})
    with Http2(server.port) as connection:
        # Not idle while it waits.
        assert connection.answer(connection.ask("/predictions/sleeper", b"2")).status == 200
        connection.until_closed()
        assert connection.goaway == 0


def test_slow_bodies_end_their_stream_only(start_server: ServerFactory) -> None:
    server = start_server("counted", config={"client_progress_timeout": 1})
    with Http2(server.port) as connection:
        slow = connection.ask("/predictions/counted", b"abc", ends=False)
        told = connection.answer(slow)
        assert (told.status, told.json()["type"]) == (408, "RequestTimeoutException")  # type: ignore[index]
        assert connection.answer(connection.ask("/predictions/counted", b"x")).body == b"x"


def test_probes_are_answered_over_http2(shared_server: Server) -> None:
    with Http2(shared_server.port) as connection:
        for path in ("/livez", "/readyz", "/startupz"):
            assert connection.get(path).status == 200


def test_words_that_are_no_http2_end_the_connection(shared_server: Server) -> None:
    for words in (b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n"):
        with open_socket(shared_server.port) as connection:
            connection.sendall(PREFACE + words)
            with contextlib.suppress(ConnectionResetError):
                connection.settimeout(20)
                while connection.recv(1000):
                    pass
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=20) as connection:
        connection.sendall(PREFACE[:18])
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    assert request(shared_server.port, "GET", "/ping").status == 200
