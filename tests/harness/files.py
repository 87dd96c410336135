"""A web server for downloads: it serves ranges, and on request it breaks, stalls or redirects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Asked:
    """One request that the server got."""

    path: str
    headers: dict[str, str]  # names in lower case


@dataclass
class FileServer:
    """What is served, and how. Paths are decoded and hold no query."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    # Bytes after which each answer in turn ends; once they are used up, answers are whole.
    breaks: dict[str, list[int]] = field(default_factory=dict)
    # Bytes after which an answer stops, the connection being held until the server ends.
    stalls: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    ending: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        """The URL of a file."""
        return f"http://127.0.0.1:{self.port}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: FileServer

    def do_GET(self) -> None:
        served, path = self.served, unquote(self.path.partition("?")[0])
        served.asked.append(
            Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        if path in served.redirects:
            self._head(302, 0, Location=served.redirects[path])
        elif path not in served.files:
            self._head(404, 0)
        else:
            self._serve(path, served.files[path])

    def _serve(self, path: str, content: bytes) -> None:
        served, tag = self.served, f'"{len(content)}"'
        start, status, fields = 0, 200, {}
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.headers.get("If-Range", tag) == tag:
            start, status = int(wanted.removeprefix("bytes=").partition("-")[0]), 206
            fields["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self._head(status, len(body), ETag=tag, **fields)
        breaks = served.breaks.get(path)
        if path in served.stalls:
            self.wfile.write(body[: served.stalls[path]])
            served.ending.wait(60)
        elif breaks:
            self.wfile.write(body[: breaks.pop(0)])
        else:
            self.wfile.write(body)

    def _head(self, status: int, length: int, **fields: str) -> None:
        self.send_response(status)
        modified = formatdate(0, usegmt=True)
        for name, value in {"Last-Modified": modified, "Connection": "close", **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A server on a free port of the loopback interface."""
    served = FileServer()
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield served
        finally:
            served.ending.set()
            server.shutdown()
            thread.join(timeout=10)
