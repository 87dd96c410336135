"""The locustfile against the real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness.server import ROOT, Server

ARCHIVES = ["noop"]


def locust(server: Server, *more: str) -> subprocess.CompletedProcess[str]:
    """Two seconds of four users."""
    words = [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "benches" / "locustfile.py")),
        *("--headless", "--only-summary", "--users", "4", "--spawn-rate", "4"),
        *("--run-time", "2s", "--host", f"http://127.0.0.1:{server.port}", *more),
    ]
    return subprocess.run(words, check=False, timeout=60, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("gevent")  # locust itself must not be imported: it patches the interpreter


def test_users_get_right_answers(shared_server: Server, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 100)
    done = locust(shared_server, "--model", "noop", "--body", str(body), "--expect", "ok")
    assert done.returncode == 0, done.stderr
    assert "/predictions/noop" in done.stdout + done.stderr


def test_wrong_answers_are_failures(shared_server: Server) -> None:
    done = locust(shared_server, "--model", "noop", "--expect", "something else")
    assert done.returncode == 1, done.stderr
    assert "another answer than expected" in done.stdout + done.stderr
