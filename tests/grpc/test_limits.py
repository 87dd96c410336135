"""Deadlines, cancellation, sizes, garbage, and clients that leave things open."""

from __future__ import annotations

import contextlib
import re
import struct
import time

import grpc
import pytest
from conftest import ServerFactory
from harness.client import open_socket
from harness.processes import wait_until
from harness.server import Server

from .conftest import Connect, refused

ARCHIVES = ["rpc"]
PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


def raw(channel: grpc.Channel, method: str = PREDICTIONS) -> grpc.UnaryUnaryMultiCallable:
    """A call whose messages are bytes."""
    return channel.unary_unary(method, request_serializer=None, response_deserializer=None)


def test_a_deadline_bounds_the_wait_and_drops_what_waits(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server("rpc")
    client = connect(server)
    begun = time.monotonic()
    calls = [
        client.inference.Predictions.future(client.request("rpc", {"sleep": 2}), timeout=0.5)
        for _ in range(6)
    ]
    assert {call.code().name for call in calls} == {"DEADLINE_EXCEEDED"}
    assert time.monotonic() - begun < 2
    assert client.predict("rpc", {"answer": "next"}) == b"next"
    # One ran and one may have been handed over ahead of time; together 4 of 12 s.
    assert time.monotonic() - begun < 9
    ended = re.compile(r'/Predictions HTTP/2\.0" [14] ')
    wait_until(lambda: ended.search(server.log_file("access_log.log")), 10, "it is logged")


def test_nobody_computes_for_clients_that_cancelled(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server("rpc")
    client = connect(server)
    calls = []
    for number in range(6):
        wish = {"sleep": 2, "answer": str(number)}
        calls.append(client.inference.Predictions.future(client.request("rpc", wish)))
    wait_until(lambda: "sleeping" in server.log_file("model_log.log"), 20, "one runs")
    for call in calls:
        call.cancel()
    begun = time.monotonic()
    assert client.predict("rpc", {"answer": "mine"}) == b"mine"
    # One runs and one may have been handed over ahead of time; together 4 of 12 s.
    assert time.monotonic() - begun < 8


def test_cancelled_stream_stops_the_handler(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("rpc")
    client = connect(server)
    wish = {"parts": 100_000, "padding": 1000}
    parts = client.inference.StreamPredictions(client.request("rpc", wish))
    next(parts)
    parts.cancel()
    assert client.predict("rpc", {"answer": "free"}) == b"free"


def test_messages_have_a_limit(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("rpc", config={"max_request_size": 50_000})
    client = connect(server)
    request = client.request("rpc", {"answer": "ok"})
    request.input["p"] = b""
    request.input["p"] = b"x" * (50_000 - len(request.SerializeToString()) - 4)
    assert len(request.SerializeToString()) == 50_000
    assert client.inference.Predictions(request, timeout=20).prediction == b"ok"
    request.input["p"] += b"x"
    with refused("RESOURCE_EXHAUSTED", "The message has 50001 bytes; max_request_size is 50000."):
        client.inference.Predictions(request, timeout=20)
    # Small on the wire, large in memory.
    request.input["p"] = bytes(5_000_000)
    with refused("RESOURCE_EXHAUSTED"):
        client.inference.Predictions(request, timeout=20, compression=grpc.Compression.Gzip)
    assert client.predict("rpc", {"answer": "ok"}) == b"ok"


def test_garbage_is_refused(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    with pytest.raises(grpc.RpcError) as caught:
        raw(client.channels[0])(b"\xff" * 100, timeout=20)
    assert caught.value.code().name == "INTERNAL"
    assert "decode" in caught.value.details()
    service = PREDICTIONS.rpartition("/")[0]
    for method in ("/no.Such/Method", f"{service}/No", "/org.pytorch.serve/"):
        with refused("UNIMPLEMENTED"):
            raw(client.channels[0], method)(b"", timeout=20)
    # The other port's service is not here.
    with refused("UNIMPLEMENTED"):
        raw(client.channels[1])(b"", timeout=20)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", preface + b"\xff" * 50):
        with open_socket(shared_server.grpc_ports[0]) as connection:
            connection.sendall(words)
            connection.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(1000):
                    pass
    assert client.predict("rpc", {"answer": "ok"}) == b"ok"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113 section 4.1)."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream)[:9] + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK has it when it saves nothing (RFC 7541 section 6.2.2)."""
    return b"".join([b"\0", bytes([len(name)]), name, bytes([len(value)]), value])


def half_calls(method: str, count: int) -> bytes:
    """A connection's first words: calls whose requests begin and never end."""
    path = f"{PREDICTIONS.rpartition('/')[0]}/{method}".encode()
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", path),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
    head = b"".join(literal(name, value) for name, value in fields)
    words = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0, b"")]
    for stream in range(1, 2 * count, 2):
        words.append(frame(1, 4, stream, head))
        # A message of 6 MB is announced, and four bytes of it come.
        words.append(frame(0, 0, stream, b"\0" + (6_000_000).to_bytes(4, "big") + b"abcd"))
    return b"".join(words)


def test_ten_thousand_calls_that_are_begun_and_left(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server("rpc")
    client = connect(server)
    assert client.predict("rpc", {"answer": "warm"}) == b"warm"
    before, files = server.memory_mib(), server.open_files()
    with contextlib.ExitStack() as stack:
        for number in range(10):
            connection = stack.enter_context(open_socket(server.grpc_ports[0]))
            method = "StreamPredictions2" if number % 2 else "Predictions"
            connection.sendall(half_calls(method, 1000))
        # Small requests find their way past those that wait for memory, which is seconds to come.
        assert client.predict("rpc", {"answer": "ok"}, timeout=10) == b"ok"
        assert server.memory_mib() - before < 250
    # A large one needs what the others held.
    large = client.request("rpc", {"answer": "ok"})
    large.input["padding"] = bytes(6_000_000)
    for _ in range(50):
        assert client.inference.Predictions(large, timeout=60).prediction == b"ok"
    wait_until(lambda: server.open_files() <= files, 30, "the connections are gone")


def test_a_stopping_server_answers_what_it_has_begun(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server("rpc")
    client = connect(server)
    call = client.inference.Predictions.future(
        client.request("rpc", {"sleep": 1, "answer": "done"}), timeout=30
    )
    wait_until(lambda: "sleeping 1" in server.log_file("model_log.log"), 20, "it runs")
    assert server.terminate() == 0
    assert call.result().prediction == b"done"
    with refused("UNAVAILABLE"):
        client.predict("rpc", timeout=5)


def test_connections_grow_old(start_server: ServerFactory, connect: Connect) -> None:
    age = {"grpc_inference_max_connection_age_ms": 300}
    server = start_server("rpc", config=age)
    client = connect(server)
    # A call outlives its connection's age, and the next one finds another connection.
    for number in range(3):
        wish = {"sleep": 0.6, "answer": str(number)}
        assert client.predict("rpc", wish) == str(number).encode()

    def remotes() -> set[str]:
        return set(re.findall(r'(\S+) "gRPC ', server.log_file("access_log.log")))

    wait_until(lambda: len(remotes()) == 3, 10, "each call came over a connection of its own")
