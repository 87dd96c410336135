"""Throughput with 1, 2, 4, 8 workers of a handler that only sleeps."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure.load import Loader, Request, wait_until_right
from measure.peers import Compatible
from measure.processes import ServerProcess
from measure.results import Row
from measure.workloads import BY_NAME, RAW, Prepared, pack

# Enough that a worker finds its next request waiting.
CONNECTIONS_PER_WORKER = 4
WARM_UP_SECONDS = 1.0


def run(
    peer: Compatible, prepared: Prepared, loadgen: Path, counts: Sequence[int], seconds: float
) -> list[Row]:
    """Starts the server anew for every number of workers and loads it in a closed loop."""
    found = []
    for count in counts:
        cell = _measure(peer, prepared, loadgen, count, seconds)
        print(
            f"  {count} workers: {cell['rps']:,.1f}/s, p50 {cell['p50_us'] / 1e3:.1f} ms",
            flush=True,
        )
        found.append(cell)
    return found


def _measure(
    peer: Compatible, prepared: Prepared, loadgen: Path, workers: int, seconds: float
) -> Row:
    """One number of workers."""
    name = f"sleeper{workers}"
    settings = {"minWorkers": workers, "maxWorkers": workers, "batchSize": 1}
    archive = pack(prepared.folder, name, "sleeper.py", settings)
    body = prepared.body(BY_NAME["noop"])
    request = Request(f"/predictions/{name}", body, RAW, lambda answer: answer == b"ok")
    with tempfile.TemporaryDirectory(prefix="tserve-bench-") as temporary:
        folder = Path(temporary)
        (folder / "cwd").mkdir()
        start = peer.serve(prepared, archive.parent, [f"{name}={archive.name}"], folder / "cwd")
        server = ServerProcess(start.words, start.environment, folder / "cwd", folder / "output")
        try:
            expected = folder / "expected"
            expected.write_bytes(wait_until_right(server, start.port, request, peer.ready_seconds))
            loader = Loader(loadgen, server, start.port, request, expected)
            # Other workers may still load: the load does not begin before all of them answer.
            connections = workers * CONNECTIONS_PER_WORKER
            _wait_for_all(loader, workers, connections)
            cell = loader.run(connections, seconds)
        finally:
            server.stop(peer.grace_seconds)
    return {**cell, "server": peer.name, "workers": workers}


def _wait_for_all(loader: Loader, workers: int, connections: int) -> None:
    """Until a second of load shows that every worker takes part; at most ten times."""
    for _ in range(10):
        if float(loader.run(connections, WARM_UP_SECONDS)["rps"]) > (workers - 0.5) * 40:
            return
