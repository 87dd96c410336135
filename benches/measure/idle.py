"""How much memory an idle server needs, and how soon it is ready."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from measure.load import Failed
from measure.peers import Compatible, Start
from measure.processes import ServerProcess, kilobytes
from measure.results import Row
from measure.workloads import BY_NAME, Prepared

# What a server does after it is ready, such as its first log lines, has settled by then.
SETTLE_SECONDS = 2.0
READY_SECONDS = 60.0


@contextmanager
def _started(peer: Compatible, prepared: Prepared) -> Iterator[tuple[ServerProcess, Start]]:
    """A server without models."""
    with tempfile.TemporaryDirectory(prefix="tserve-bench-") as name:
        folder = Path(name)
        (folder / "cwd").mkdir()
        start = peer.serve(prepared, prepared.store, [], folder / "cwd")
        server = ServerProcess(start.words, start.environment, folder / "cwd", folder / "output")
        try:
            yield server, start
        finally:
            server.stop(peer.grace_seconds)


def _wait_until_ready(server: ServerProcess, port: int) -> float:
    """Seconds from the start of the process to the first 200 of /ping."""
    while time.monotonic() - server.started < READY_SECONDS:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(
                    b"GET /ping HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
                )
                if connection.recv(64).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - server.started
        except OSError:
            pass
        if not server.is_running():
            break
        time.sleep(0.001)
    raise Failed("not ready: " + server.output())


def _resident_kib(server: ServerProcess) -> int:
    """Of the server process alone, without its workers."""
    return kilobytes(server.process.pid, "status", "VmRSS")


def starts(peer: Compatible, prepared: Prepared, count: int) -> Row:
    """Resident memory and time until ready of a server without models, `count` times."""
    found: Row = {"server": peer.name, "resident_mib": [], "ready_ms": []}
    for _ in range(count):
        with _started(peer, prepared) as (server, start):
            found["ready_ms"].append(_wait_until_ready(server, start.port) * 1e3)
            time.sleep(SETTLE_SECONDS)
            found["resident_mib"].append(_resident_kib(server) / 1024)
    return found


def models(peer: Compatible, prepared: Prepared, count: int) -> Row:
    """What the server process grows by when it gets `count` models, one worker each."""
    archive = prepared.archive(BY_NAME["noop"])
    with _started(peer, prepared) as (server, start):
        _wait_until_ready(server, start.port)
        management = _management_port(start)
        _manage(management, "GET", "/models")
        time.sleep(SETTLE_SECONDS)
        before = _resident_kib(server)
        for number in range(count):
            query = {"url": archive.name, "model_name": f"m{number}", "initial_workers": 1}
            _manage(management, "POST", f"/models?{urlencode({**query, 'synchronous': 'true'})}")
        for number in range(count):
            _wait_until_loaded(management, f"m{number}")
        time.sleep(SETTLE_SECONDS)
        after = _resident_kib(server)
    return {"growth_kib_per_model": [(after - before) / count], "models": count}


def _management_port(start: Start) -> int:
    config = Path(start.words[start.words.index("--ts-config") + 1]).read_text()
    return int(config.partition("management_address=http://127.0.0.1:")[2].split()[0])


def _manage(port: int, method: str, path: str) -> object:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status not in (200, 202):
            raise Failed(f"{method} {path}: {answer.status} {body.decode(errors='replace')}")
        return json.loads(body)
    finally:
        connection.close()


def _wait_until_loaded(port: int, model: str) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        described = _manage(port, "GET", f"/models/{model}")
        assert isinstance(described, list)
        if [worker["status"] for worker in described[0]["workers"]] == ["READY"]:
            return
        time.sleep(0.05)
    raise Failed(f"{model} did not load within {READY_SECONDS:g} s")
