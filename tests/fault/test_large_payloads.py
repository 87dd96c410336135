"""Bodies and answers far beyond the usual: whole, concurrent with others, and given back."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.client import request
from harness.processes import wait_until
from harness.server import Server

MEBIBYTE = 1 << 20
LIMITS = {"max_request_size": 300 * MEBIBYTE, "max_response_size": 300 * MEBIBYTE}


def shared_megabytes(server: Server) -> int:
    """Shared memory that the server process holds in RAM."""
    assert server.process is not None
    status = Path("/proc", str(server.process.pid), "status").read_text()
    found = re.search(r"^RssShmem:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_256_mebibytes_there_and_back(start_server) -> None:
    server: Server = start_server("counted", "noop", config=LIMITS)
    block = hashlib.sha256(b"seed").digest() * (MEBIBYTE // 32)
    body = b"".join(b"%16d" % number + block[16:] for number in range(256))
    assert len(body) == 256 * MEBIBYTE

    # The neighbour is asked all the while: a large body must not stop small ones.
    stop, slowest = threading.Event(), [0.0]

    def neighbour() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            assert server.predict("noop").body == b"ok"
            slowest[0] = max(slowest[0], time.monotonic() - begun)
            time.sleep(0.01)

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        answer = server.predict("counted", body, timeout=120)
    finally:
        stop.set()
        thread.join(timeout=30)
    assert answer.status == 200
    assert answer.body == body
    assert slowest[0] < 5, f"a neighbour waited {slowest[0]:.1f} s"
    wait_until(lambda: shared_megabytes(server) < 200, 10, "the pages were given back")


@pytest.mark.timeout(240)
def test_chunked_64_mebibytes(start_server) -> None:
    server: Server = start_server("counted", config=LIMITS)
    chunk = bytes(range(256)) * 1024
    answer = request(
        server.port, "POST", "/predictions/counted", (chunk for _ in range(256)), timeout=60
    )
    assert (answer.status, answer.body == chunk * 256) == (200, True)


def test_many_large_bodies_at_once_are_served_or_refused(start_server) -> None:
    """More than the arena holds at once: each is answered, whole or with 503."""
    server: Server = start_server("counted", config=LIMITS)
    bodies = [bytes([number]) * (24 * MEBIBYTE) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: server.predict("counted", body, timeout=90), bodies))
    for body, answer in zip(bodies, answers, strict=True):
        if answer.status == 503:
            assert answer.json()["type"] == "ServiceUnavailableException"
        else:
            assert (answer.status, answer.body == body) == (200, True)
    assert any(answer.status == 200 for answer in answers)
    assert server.predict("counted", b"after").body == b"after"
