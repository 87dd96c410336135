"""One HTTP/2 connection on which a test decides about every frame."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Received:
    """What has come of one answer."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)  # one per DATA frame
    has_ended: bool = False
    reset: int | None = None  # the code of RST_STREAM

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self.has_ended or self.reset is not None

    @property
    def body(self) -> bytes:
        """All parts."""
        return b"".join(self.parts)

    def json(self) -> object:
        """The body parsed."""
        return json.loads(self.body)


class Frames(H2Connection):
    """The client's side of a connection; it goes on after GOAWAY, as RFC 9113 section 6.8 says."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        state = self.state_machine.state
        told: tuple[list[Frame], list[Event]] = super()._receive_goaway_frame(frame)
        if frame.error_code == 0:
            self.state_machine.state = state
        return told


class Http2:
    """A connection with prior knowledge, or over TLS what `context` agrees on."""

    def __init__(
        self,
        port: int,
        *,
        context: ssl.SSLContext | None = None,
        window: int = 65535,
        receive_buffer: int | None = None,
        timeout: float = 30,
    ) -> None:
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(timeout)
        connection.connect(("127.0.0.1", port))
        self.socket = connection
        if context is not None:
            self.socket = context.wrap_socket(connection, server_hostname="localhost")
        self.frames = Frames(H2Configuration(header_encoding="utf-8"))
        initial = {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0}
        self.frames.local_settings = Settings(client=True, initial_values=initial)
        self.frames.initiate_connection()
        self.answers: dict[int, Received] = {}
        self.held: set[int] = set()  # streams of which no more is wanted for now
        self.goaway: int | None = None
        self.is_closed = False
        self.flush()

    @property
    def tls_protocol(self) -> str | None:
        """What client and server have agreed on."""
        agreed = isinstance(self.socket, ssl.SSLSocket)
        return self.socket.selected_alpn_protocol() if agreed else None

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(
        self,
        path: str,
        spec: Mapping[str, object] | bytes | None = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        ends: bool = True,
    ) -> int:
        """Sends a request, a mapping as JSON; returns its stream."""
        stream = self.frames.get_next_available_stream_id()
        body = spec if isinstance(spec, bytes | None) else json.dumps(spec).encode()
        fields = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "t"),
            (":path", path),
            *(headers.items() if isinstance(headers, Mapping) else headers),
        ]
        if isinstance(spec, Mapping):
            fields.append(("content-type", "application/json"))
        if body is not None and ends:
            fields.append(("content-length", str(len(body))))
        self.frames.send_headers(stream, fields, end_stream=ends and not body)
        self.answers[stream] = Received()
        if body:
            self.send(stream, body, ends=ends)
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, *, ends: bool = True) -> None:
        """Sends more of a body, waiting for the server to make room, unless it wants no more."""
        while body and not self.answers[stream].is_over:
            room = min(
                self.frames.local_flow_control_window(stream), self.frames.max_outbound_frame_size
            )
            if room == 0:
                self.pump()
                continue
            piece, body = body[:room], body[room:]
            self.frames.send_data(stream, piece, end_stream=ends and not body)
            self.flush()

    def answer(self, stream: int) -> Received:
        """The whole answer of a stream, or what came of it until it was reset."""
        received = self.answers[stream]
        self.until(lambda: received.is_over)
        return received

    def get(self, path: str, **options: object) -> Received:
        """Asks with GET and waits."""
        return self.answer(self.ask(path, method="GET", **options))  # type: ignore[arg-type]

    def parts(self, stream: int) -> Iterator[bytes]:
        """The DATA frames of a stream as they come."""
        received, seen = self.answers[stream], 0
        while True:
            while len(received.parts) == seen and not received.is_over:
                self.pump_open()
            if seen == len(received.parts):
                return
            yield received.parts[seen]
            seen += 1

    def cancel(self, stream: int) -> None:
        """Gives a request up."""
        # It may be over already.
        with contextlib.suppress(StreamClosedError):
            self.frames.reset_stream(stream, 8)
        self.flush()

    def release(self, stream: int) -> None:
        """Takes more of a stream that was held."""
        self.held.discard(stream)
        taken = len(self.answers[stream].body)
        if taken and not self.answers[stream].is_over:
            self.frames.increment_flow_control_window(taken, stream)
            self.flush()

    def until(self, is_done: Callable[[], bool]) -> None:
        """Takes what comes until a condition holds.

        Raises:
            ConnectionError: the connection ended before.
        """
        while not is_done():
            self.pump_open()

    def until_closed(self) -> None:
        """Takes what comes until the server closes."""
        with contextlib.suppress(ConnectionResetError):
            while not self.is_closed:
                self.pump()

    def pump_open(self) -> None:
        """Takes what comes next; that the connection is over is an error."""
        if self.is_closed:
            raise ConnectionError(f"the connection ended; GOAWAY says {self.goaway}")
        self.pump()

    def pump(self) -> None:
        """Takes what comes next."""
        data = self.socket.recv(65536)
        if not data:
            self.is_closed = True
            return
        for event in self.frames.receive_data(data):
            self._note(event)
        with contextlib.suppress(OSError):
            self.flush()

    def flush(self) -> None:
        """Writes what is to be said."""
        self.socket.sendall(self.frames.data_to_send())

    def _note(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaway = int(event.error_code)
            return
        received = self.answers.get(getattr(event, "stream_id", 0) or 0, Received())
        if isinstance(event, ResponseReceived):
            received.headers = {str(name): str(value) for name, value in event.headers}
            received.status = int(received.headers.pop(":status"))
        elif isinstance(event, DataReceived):
            if event.data:
                received.parts.append(event.data)
            count = event.flow_controlled_length
            # The end of the stream, or of the connection, may have come along.
            with contextlib.suppress(ProtocolError):
                if count:
                    self.frames.increment_flow_control_window(count)
                if count and event.stream_id not in self.held:
                    self.frames.increment_flow_control_window(count, event.stream_id)
        elif isinstance(event, StreamEnded):
            received.has_ended = True
        elif isinstance(event, StreamReset) and not received.has_ended:
            # After the whole answer it only means that the rest of the request is not wanted.
            received.reset = int(event.error_code)
