"""Runs `locustfile.py` without its web page against a tserve of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from measure.compare import running
from measure.load import Failed
from measure.peers import Peer
from measure.workloads import BENCHES, BY_NAME, Prepared


def run(
    peer: Peer, prepared: Prepared, loadgen: Path, python: Path, users: int, seconds: float
) -> None:
    """Prints locust's table.

    Raises:
        Failed: locust is not installed, or saw failures.
    """
    workload = BY_NAME["noop"]
    if not python.exists():
        raise Failed("locust is not installed (make bench-peers)")
    with running(peer, workload, prepared, loadgen, 0) as active:
        words = [
            *(str(python), "-m", "locust", "-f", str(BENCHES / "locustfile.py")),
            *("--headless", "--only-summary", "--users", str(users)),
            *("--spawn-rate", str(users), "--run-time", f"{seconds:g}s"),
            *("--host", f"http://127.0.0.1:{active.loader.port}", "--model", workload.name),
            *("--body", str(prepared.body(workload)), "--expect", "ok"),
        ]
        done = subprocess.run(words, check=False, timeout=seconds + 60)
        if done.returncode:
            raise Failed(f"locust ended with status {done.returncode}")
