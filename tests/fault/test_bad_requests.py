"""Requests that lie, drip or vanish: a clear error where there is someone to tell, no harm else."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from harness.client import open_socket, read_to_end, request
from harness.processes import wait_until
from harness.server import Server

ARCHIVES = ["counted", {"name": "sleeper", "settings": {"batchSize": 1, "jobQueueSize": 5}}]

HEAD = b"POST /predictions/counted HTTP/1.1\r\nHost: t\r\n"


@pytest.fixture(autouse=True)
def still_serving(shared_server: Server):
    """After every test the server answers, with the workers it had before."""
    before = shared_server.worker_pids("counted")
    yield
    assert shared_server.predict("counted", b"after").body == b"after"
    assert shared_server.worker_pids("counted") == before


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split(b" ", 2)[1])


def reset(connection: socket.socket) -> None:
    """Closes with a TCP reset, as a crashed client does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def exchange(server: Server, *parts: bytes, pause: float = 0, half_close: bool = False) -> bytes:
    with open_socket(server.port, timeout=15) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_to_end(connection)


@pytest.mark.parametrize(
    "message",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the start of a TLS handshake
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: t\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: minus one\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nbody",
        HEAD + b"Bad Header Name: x\r\n\r\n",
    ],
    ids=[
        "nonsense",
        "tls",
        "long-line",
        "long-header",
        "length-text",
        "length-negative",
        "length-overflow",
        "two-lengths",
        "bad-chunk",
        "bad-header",
    ],
)
def test_malformed_message_is_refused(shared_server: Server, message: bytes) -> None:
    answer = exchange(shared_server, message, half_close=True)
    assert status_of(answer) in (400, 413, 414, 431), answer


def test_length_with_chunks_is_no_way_to_smuggle(shared_server: Server) -> None:
    answer = exchange(
        shared_server,
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /models HTTP/1.1\r\nHost: t\r\n\r\n",
        half_close=True,
    )
    assert b"modelName" not in answer


def test_body_larger_than_allowed(shared_server: Server) -> None:
    answer = exchange(shared_server, HEAD + b"Content-Length: 70000000\r\n\r\n", half_close=True)
    assert status_of(answer) == 413


def test_chunked_body_larger_than_allowed(shared_server: Server) -> None:
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b"z" * (1 << 20))
    with open_socket(shared_server.port, timeout=15) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(16):
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = read_to_end(connection)
    # A client that does not read while it sends may lose the answer to the reset.
    assert answer == b"" or status_of(answer) == 413


def test_fewer_bytes_than_announced(shared_server: Server) -> None:
    answer = exchange(shared_server, HEAD + b"Content-Length: 100\r\n\r\nshort", half_close=True)
    assert answer == b"" or status_of(answer) == 400


def test_more_bytes_than_announced_are_the_next_request(shared_server: Server) -> None:
    answer = exchange(shared_server, HEAD + b"Content-Length: 2\r\n\r\nabGARBAGE\r\n\r\n")
    assert status_of(answer) == 200
    assert b"\r\n\r\nabHTTP/1.1 400" in answer


def test_dripping_body_is_served_and_blocks_nobody(shared_server: Server) -> None:
    with open_socket(shared_server.port) as connection:
        connection.sendall(HEAD + b"Content-Length: 8\r\n\r\n")
        for letter in b"dripping":
            connection.sendall(bytes([letter]))
            begun = time.monotonic()
            assert shared_server.predict("counted", b"other").body == b"other"
            assert time.monotonic() - begun < 2
            time.sleep(0.1)
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection).endswith(b"dripping")


def test_hundreds_of_silent_connections_block_nobody(shared_server: Server) -> None:
    connections = [open_socket(shared_server.port) for _ in range(300)]
    try:
        for connection in connections[::2]:
            connection.sendall(b"POST /predictions/counted HT")
        assert shared_server.predict("counted", b"other").body == b"other"
    finally:
        for connection in connections:
            reset(connection)


def test_client_that_vanishes_while_it_sends(shared_server: Server) -> None:
    for _ in range(20):
        connection = open_socket(shared_server.port)
        connection.sendall(HEAD + b"Content-Length: 5000000\r\n\r\n" + b"x" * 100_000)
        reset(connection)


def test_clients_that_vanish_free_their_places(shared_server: Server) -> None:
    """Five wait in the queue and hang up; their places are free again, and nobody computes."""
    line = b"POST /predictions/sleeper HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n2"
    connections = []
    for _ in range(6):
        connections.append(open_socket(shared_server.port))
        connections[-1].sendall(line)
        time.sleep(0.1)
    begun = time.monotonic()
    for connection in connections:
        reset(connection)
    wait_until(
        lambda: shared_server.predict("sleeper", b"0").status == 200, 15, "there is room again"
    )
    # The one that runs, and the one that is on the worker's link already, cannot be taken back.
    assert time.monotonic() - begun < 6.5, "somebody computed for clients that were gone"


def test_full_queue_refuses_at_once(shared_server: Server) -> None:
    line = b"POST /predictions/sleeper HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n1"
    connections = [open_socket(shared_server.port) for _ in range(12)]
    for connection in connections:
        connection.sendall(line)
        time.sleep(0.02)
    begun = time.monotonic()
    answer = shared_server.predict("sleeper", b"0")
    assert answer.status == 503
    assert answer.json()["type"] == "ServiceUnavailableException"
    assert time.monotonic() - begun < 1
    for connection in connections:
        reset(connection)
    wait_until(lambda: shared_server.predict("sleeper", b"0").status == 200, 15, "it drains")


def test_pipelined_requests_are_answered_in_order(shared_server: Server) -> None:
    message = b"".join(HEAD + b"Content-Length: 1\r\n\r\n%d" % number for number in range(8))
    answer = exchange(shared_server, message, half_close=True)
    heads = answer.split(b"HTTP/1.1 200")[1:]
    assert [part[-1:] for part in heads] == [b"%d" % number for number in range(8)]
    ids = {part.lower().split(b"x-request-id: ")[1].split(b"\r\n")[0] for part in heads}
    assert len(ids) == 8


def test_expect_continue(shared_server: Server) -> None:
    with open_socket(shared_server.port) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"yes")
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection).endswith(b"\r\n\r\nyes")


@pytest.mark.parametrize("size", [0, 1, 4096, 65_536, 1_000_000, 6_553_500])
def test_bodies_of_every_size_come_back_whole(shared_server: Server, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert shared_server.predict("counted", body).body == body


def test_chunked_body_comes_back_whole(shared_server: Server) -> None:
    parts = [b"a" * 10, b"b" * 70_000, b"c", b"d" * 500_000]
    answer = request(shared_server.port, "POST", "/predictions/counted", iter(parts))
    assert (answer.status, answer.body) == (200, b"".join(parts))
