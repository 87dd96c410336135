"""The server while it starts: models side by side, probes at once, everybody else later."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ServerFactory
from harness.archives import build_archive
from harness.client import request
from harness.processes import wait_until
from harness.server import Server


class SlowSource:
    """A web server that hands out one archive, when it is told to."""

    def __init__(self, archive: Path) -> None:
        self.finish = threading.Event()
        finish, content = self.finish, archive.read_bytes()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if finish.wait(60):
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/slow.mar"


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowSource]:
    """An archive that takes as long as the test wants."""
    source = SlowSource(build_archive(tmp_path / "source" / "store", "slow", handler="noop.py"))
    yield source
    source.finish.set()
    source.server.shutdown()
    source.server.server_close()


def starting(start_server: ServerFactory, slow: SlowSource, *flags: str) -> Server:
    """A server that has loaded one model and waits for the other."""
    flags = ("--disable-token-auth", *flags)
    server = start_server("noop", models=[slow.url, "noop.mar"], flags=flags, ready=False)
    wait_until(lambda: "worker is ready" in server.log(), 60, "the other model has loaded")
    return server


def test_probes_are_answered_and_others_wait(start_server: ServerFactory, slow: SlowSource) -> None:
    server = starting(start_server, slow, "--ncs")
    for port in (server.port, server.management_port, server.metrics_port):
        for path, status in (("/livez", 200), ("/startupz", 503), ("/readyz?model=noop", 200)):
            assert request(port, "GET", path, timeout=10).status == status, path
    assert "Model server started." not in server.log()
    with ThreadPoolExecutor(3) as clients:
        waiting = [
            clients.submit(request, server.management_port, "GET", "/models"),
            clients.submit(request, server.port, "GET", "/ping"),
            clients.submit(request, server.port, "POST", "/predictions/noop", b"x"),
        ]
        # Probes still come through, and nobody else has.
        assert request(server.port, "GET", "/readyz", timeout=10).status == 503
        assert not any(answer.done() for answer in waiting)
        slow.finish.set()
        listed, ping, predicted = (answer.result(60) for answer in waiting)
    names = [model["modelName"] for model in json.loads(listed.body)["models"]]
    assert names == ["noop", "slow"]
    assert (ping.status, predicted.status) == (200, 200)
    server.wait_until_serving()
    assert "Model server started." in server.log()


def test_a_start_can_be_broken_off(start_server: ServerFactory, slow: SlowSource) -> None:
    server = starting(start_server, slow)
    assert server.terminate() == 0
    # The next start goes by what was there before this one.
    assert not (server.working / "logs" / "config").exists()
    assert list(server.store.iterdir()) == [server.store / "noop.mar"]


def test_a_model_that_fails_holds_up_nobody(start_server: ServerFactory) -> None:
    server = start_server("noop", "version", models=["missing.mar", "noop.mar", "version.mar"])
    assert server.model_names() == ["noop", "version"]
    assert server.get("/readyz").status == 503


def test_the_first_version_that_is_named_is_the_default(start_server: ServerFactory) -> None:
    archives = [
        {"name": "version", "version": f"{number}.0", "file_name": f"v{number}"}
        for number in (3, 1, 2)
    ]
    server = start_server(*archives)
    assert server.describe("version")["modelVersion"] == "3.0"
