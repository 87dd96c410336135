"""A request whose answer is read part by part from a raw socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path


class BrokenOff(Exception):
    """The connection ended in the middle of an answer."""


class Stream:
    """One request on a connection of its own, or the next one on a connection that is open."""

    def __init__(
        self,
        port: int,
        path: str,
        spec: Mapping[str, object],
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        version: str = "HTTP/1.1",
        receive_buffer: int | None = None,
        timeout: float = 30,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            # Before the connection is made, or the window has been told already.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = b""
        self.ask(path, spec, headers=headers, method=method, version=version)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(
        self,
        path: str,
        spec: Mapping[str, object],
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        version: str = "HTTP/1.1",
    ) -> None:
        """Sends a request."""
        body = json.dumps(spec).encode()
        fields = {
            "Host": "t",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        lines = [f"{method} {path} {version}", *(f"{k}: {v}" for k, v in fields.items())]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer; names in lower case."""
        lines = self._until(b"\r\n\r\n").decode().split("\r\n")
        pairs = (line.partition(":") for line in lines[1:])
        return int(lines[0].split()[1]), {k.lower(): v.strip() for k, _, v in pairs}

    def chunk(self) -> bytes | None:
        """The next chunk; None for the last one.

        Raises:
            BrokenOff: there is no last one.
        """
        size = int(self._until(b"\r\n"), 16)
        chunk = self._exactly(size + 2)
        assert chunk.endswith(b"\r\n")
        return chunk[:-2] if size else None

    def chunks(self) -> Iterator[bytes]:
        """All chunks up to the last one."""
        while (chunk := self.chunk()) is not None:
            yield chunk

    def rest(self) -> bytes:
        """Everything until the connection ends; a reset is an error."""
        parts = [self._buffer]
        self._buffer = b""
        while part := self.socket.recv(65536):
            parts.append(part)
        return b"".join(parts)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._fill()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _fill(self) -> None:
        try:
            part = self.socket.recv(65536)
        except ConnectionResetError as error:
            raise BrokenOff(str(error)) from error
        if not part:
            raise BrokenOff("the connection ended")
        self._buffer += part


def parts(tag: str, count: int, last: str = "end") -> list[bytes]:
    """What the model `streamer` sends when it is asked for `count` small parts."""
    return [*(f"{tag}:{number};".encode() for number in range(count)), last.encode()]


def told(report: Path) -> str:
    """What the handler has written into its report so far."""
    return report.read_text() if report.exists() else ""


def is_stuck(report: Path) -> bool:
    """Whether the handler has sent nothing for half a second."""
    before = told(report)
    time.sleep(0.5)
    return bool(before) and told(report) == before
