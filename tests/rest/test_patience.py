"""Limits on clients that keep the server waiting, as the configuration sets them."""

from __future__ import annotations

import time

from conftest import ServerFactory
from harness.client import open_socket, read_to_end


def test_heads_bodies_and_pauses_have_their_limits(start_server: ServerFactory) -> None:
    server = start_server(
        "counted",
        config={
            "client_head_timeout": 1,
            "client_progress_timeout": 1,
            "client_idle_timeout": 2,
        },
    )
    begun = time.monotonic()
    with (
        open_socket(server.port) as head,
        open_socket(server.port) as body,
        open_socket(server.port) as idle,
    ):
        head.sendall(b"GET /ping HTTP/1.1\r\nX: ")
        body.sendall(b"POST /predictions/counted HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        idle.sendall(b"GET /ping HTTP/1.1\r\n\r\n")
        assert read_to_end(head).startswith(b"HTTP/1.1 408 ")
        assert read_to_end(body).startswith(b"HTTP/1.1 408 ")
        # The answer, and later the end.
        assert read_to_end(idle).startswith(b"HTTP/1.1 200 ")
    assert 2 <= time.monotonic() - begun < 25
