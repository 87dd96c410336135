"""HTTP/2 clients that mean harm: memory stays bounded, and others are served."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

import pytest
from conftest import ServerFactory
from h2.exceptions import ProtocolError
from harness.client import open_socket, request
from harness.http2 import PREFACE, Http2
from harness.processes import wait_until
from harness.server import Server

ARCHIVES = ["counted", "streamer"]
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
ENHANCE_YOUR_CALM = 11


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113 section 4.1)."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK has it when it saves nothing (RFC 7541 section 6.2.2)."""
    return b"".join([b"\0", bytes([len(name)]), name, bytes([len(value)]), value])


def head(path: bytes, method: bytes = b"POST") -> bytes:
    """A block of headers."""
    fields = [(b":method", method), (b":scheme", b"http"), (b":authority", b"t"), (b":path", path)]
    return b"".join(literal(name, value) for name, value in fields)


class Raw:
    """A connection whose client writes whatever it wants."""

    def __init__(self, port: int) -> None:
        self.socket = open_socket(port)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        self.buffer = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, words: bytes) -> bool:
        """Writes; whether the server still took it."""
        try:
            self.socket.sendall(words)
        except OSError:
            return False
        return True

    def goaway(self) -> int | None:
        """The code of the server's last word; None when it just closed."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while data := self.socket.recv(65536):
                self.buffer += data
        code = None
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            kind, payload = self.buffer[3], self.buffer[9 : 9 + length]
            if kind == GOAWAY and len(payload) >= 8:
                code = int.from_bytes(payload[4:8], "big")
            self.buffer = self.buffer[9 + length :]
        return code


def assert_serves(server: Server) -> None:
    begun = time.monotonic()
    assert request(server.port, "POST", "/predictions/counted", b"x").body == b"x"
    with Http2(server.port) as connection:
        assert connection.answer(connection.ask("/predictions/counted", b"x")).body == b"x"
    assert time.monotonic() - begun < 10


def test_rapid_reset(start_server: ServerFactory) -> None:
    """CVE-2023-44487: requests that are given up in the packet that brings them."""
    server = start_server(*ARCHIVES)
    before = server.memory_mib()
    block, cancelled = head(b"/predictions/counted"), struct.pack(">I", 8)
    with Raw(server.port) as client:
        for start in range(1, 40_001, 200):
            words = [
                frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
                + frame(RST_STREAM, 0, stream, cancelled)
                for stream in range(start, start + 200, 2)
            ]
            if not client.send(b"".join(words)):
                break
        assert client.goaway() in (ENHANCE_YOUR_CALM, None)
        assert_serves(server)
    assert server.memory_mib() - before < 64


def test_requests_that_are_begun_and_given_up_again_and_again(start_server: ServerFactory) -> None:
    server = start_server(*ARCHIVES)
    with Http2(server.port) as connection, contextlib.suppress(OSError, ProtocolError):
        for number in range(4000):
            stream = connection.ask("/predictions/counted", b"x", ends=False)
            if number % 20 == 19:
                # The server has seen them.
                connection.get("/ping")
            connection.cancel(stream)
        pytest.fail("the client may go on for ever")
    assert connection.goaway in (ENHANCE_YOUR_CALM, None)
    # The log is written a moment later.
    wait_until(lambda: "keeps giving up requests" in server.log(), 10, "the line in the log")
    assert_serves(server)


def test_ten_thousand_streams_that_are_begun_and_left(start_server: ServerFactory) -> None:
    server = start_server(*ARCHIVES)
    assert_serves(server)
    before, files = server.memory_mib(), server.open_files()
    block = head(b"/predictions/counted")
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(Raw(server.port))
            # More than the server allows at once: what is beyond is refused.
            client.send(
                b"".join(
                    frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, 0, stream, b"abcd")
                    for stream in range(1, 2001, 2)
                )
            )
        assert_serves(server)
        assert server.memory_mib() - before < 64
    wait_until(lambda: server.open_files() <= files + 2, 30, "the connections are gone")
    assert_serves(server)


def test_ten_thousand_answers_that_nobody_reads(start_server: ServerFactory) -> None:
    server = start_server(*ARCHIVES, config={"client_progress_timeout": 2})
    assert_serves(server)
    before, files = server.memory_mib(), server.open_files()
    body = b"x" * 60_000
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Http2(server.port, window=0)) for _ in range(10)]
        for client in clients:
            for _ in range(100):
                client.ask("/predictions/counted", body)
        assert_serves(server)
        # 60 MB of answers wait for room until their time is over, and small change.
        assert server.memory_mib() - before < 200
        for client in clients:
            client.until(lambda client=client: all(a.is_over for a in client.answers.values()))
    wait_until(lambda: server.open_files() <= files + 2, 30, "the connections are gone")
    assert_serves(server)


def test_huge_headers(shared_server: Server) -> None:
    with Http2(shared_server.port) as connection:
        # Within what HTTP/2 is told to allow, above what HTTP/1 allows.
        answer = connection.get("/ping", headers={"x": "y" * 9000})
        assert answer.status == 400
        answer = connection.get("/ping", headers={"x": "y" * 17_000})
        assert answer.status == 431
        assert connection.get("/ping").status == 200
        assert connection.get("/ping?" + "q" * 5000).status == 400


def test_headers_without_an_end(shared_server: Server) -> None:
    """The flood of CONTINUATION frames."""
    before = shared_server.memory_mib()
    with Raw(shared_server.port) as client:
        client.send(frame(HEADERS, END_STREAM, 1, head(b"/ping")))
        field = b"".join(literal(b"x%d" % number, b"y" * 100) for number in range(100))
        for _ in range(5000):
            if not client.send(frame(CONTINUATION, 0, 1, field)):
                break
        else:
            pytest.fail("the client may go on for ever")
        client.goaway()
    assert shared_server.memory_mib() - before < 32
    assert_serves(shared_server)


def test_headers_that_unpack_to_much_more(shared_server: Server) -> None:
    """A table entry of 4 KB that a block names again and again."""
    before = shared_server.memory_mib()
    entry = b"\x40\x01x\x7f" + integer(4000 - 127) + b"y" * 4000
    with Raw(shared_server.port) as client:
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head(b"/ping") + entry))
        for stream in range(3, 403, 2):
            block = head(b"/ping") + b"\xbe" * 12_000  # 48 MB as text
            if not client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block)):
                break
        assert_serves(shared_server)
    assert shared_server.memory_mib() - before < 64


def integer(value: int) -> bytes:
    """The rest of an HPACK integer whose prefix is full (RFC 7541 section 5.1)."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0),
        frame(DATA, 0, 1),
        frame(11, 0, 0, b"unknown"),
    ],
    ids=["ping", "settings", "empty data", "unknown"],
)
def test_floods_of_small_frames(shared_server: Server, flood: bytes) -> None:
    before = shared_server.memory_mib()
    with Raw(shared_server.port) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, head(b"/predictions/counted")))
        client.socket.settimeout(2)
        with contextlib.suppress(socket.timeout):
            for _ in range(200):
                # Nothing of what the server says to it is read.
                if not client.send(flood * 500):
                    break
        assert_serves(shared_server)
        assert shared_server.memory_mib() - before < 32


def test_frames_that_break_the_rules(shared_server: Server) -> None:
    block = head(b"/ping")
    for words in [
        frame(HEADERS, END_HEADERS | END_STREAM, 2, block),  # an even stream
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 5, b"x"),  # a stream that is not open
        frame(HEADERS, 0, 1, block) + frame(PING, 0, 0, b"12345678"),
        frame(HEADERS, END_HEADERS, 1, b"\xff" * 20),  # no such entry
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
        frame(8, 0, 0, struct.pack(">I", 0)),  # a window that grows by nothing
        frame(5, END_HEADERS, 1, struct.pack(">I", 2)),  # a client's promise
        b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 1000,
    ]:
        with Raw(shared_server.port) as client:
            client.send(words)
            assert client.goaway() != 0, words[:20]
    for fields in [
        b"".join([literal(b":method", b"GET"), literal(b":path", b"/ping")]),  # no scheme
        block + literal(b"Upper", b"x"),
        block + literal(b"connection", b"close"),
        block + literal(b"transfer-encoding", b"chunked"),
        literal(b"x", b"y") + block,  # pseudo-headers come first
        block + literal(b":path", b"/other"),
        block + literal(b"content-length", b"5"),  # without a body
    ]:
        with Raw(shared_server.port) as client:
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, fields))
            client.socket.settimeout(20)
            answer = b""
            while not {RST_STREAM, GOAWAY} & set(frame_kinds(answer)):
                more = client.socket.recv(65536)
                assert more, fields
                answer += more
            assert HEADERS not in frame_kinds(answer), fields
    assert_serves(shared_server)


def frame_kinds(data: bytes) -> list[int]:
    """The kinds of the whole frames in what was received."""
    kinds = []
    while len(data) >= 9:
        kinds.append(data[3])
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return kinds
