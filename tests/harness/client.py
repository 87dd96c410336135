"""A plain HTTP client: one request, one answer, every detail kept; and raw sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it stood on the wire."""

    status: int
    phrase: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self) -> object:
        """The body parsed."""
        return json.loads(self.body)

    def message(self) -> str:
        """The `message` of an error object."""
        return str(json.loads(self.body)["message"])


class Connection:
    """One connection that is kept alive between requests."""

    def __init__(self, port: int, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends one request and reads its answer; an iterable body is sent in chunks."""
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
        response = self._connection.getresponse()
        content = response.read()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, response.reason, fields, content)


def request(
    port: int,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Answer:
    """One request on a connection of its own."""
    with Connection(port, timeout) as connection:
        return connection.request(method, path, body, headers)


def open_socket(port: int, timeout: float = 30) -> socket.socket:
    """A raw connection, for requests that no client library would send."""
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the peer closes or resets."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def multipart(parts: list[tuple[str, str | None, str | None, bytes]]) -> tuple[bytes, str]:
    """Encodes parts (name, file name, content type, value); returns body and content type."""
    boundary = "tserve-test-boundary"
    body = b""
    for name, file_name, content_type, value in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += f'; filename="{file_name}"'.encode() if file_name else b""
        body += f"\r\nContent-Type: {content_type}".encode() if content_type else b""
        body += b"\r\n\r\n" + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
