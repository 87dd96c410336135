"""Registering and unregistering over and over: the server ends as it began.

Memory, descriptors, threads, processes and folders are those of the beginning. `TSERVE_SLOW=1` (as
`make fault` sets it) adds the run of a thousand rounds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.archives import build_archive
from harness.client import Connection
from harness.processes import wait_until
from harness.server import Server

# Threads for blocking work come and go, and each keeps a little memory for itself.
SLACK_KIB = 3 * 1024


@dataclass(frozen=True)
class Footprint:
    """What a server has of everything that can leak."""

    descriptors: int
    threads: int
    processes: int
    folders: int
    logged_files: int
    shared_kib: int
    private_kib: int

    @classmethod
    def of(cls, server: Server) -> Footprint:
        assert server.process is not None
        proc = Path("/proc", str(server.process.pid))
        status = (proc / "status").read_text()

        def kib(field: str) -> int:
            found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
            assert found
            return int(found[1])

        return cls(
            descriptors=len(os.listdir(proc / "fd")),
            threads=len(os.listdir(proc / "task")),
            processes=len(server.processes()),
            folders=len(list(server.temporary.rglob("*"))),
            logged_files=len(list((server.working / "logs").rglob("*"))),
            shared_kib=kib("RssShmem"),
            private_kib=kib("RssAnon"),
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    build_archive(tmp_path / "store", "noop", settings={"batchSize": 2, "maxBatchDelay": 1})
    build_archive(tmp_path / "store", "refuses")
    # Snapshots are written too: each round makes some.
    flags = ("--disable-token-auth", "--enable-model-api")
    server = Server(tmp_path, flags=flags, config={"default_workers_per_model": 0})
    server.start()
    yield server
    server.stop()


def churn(server: Server, rounds: int, workers_every: int) -> None:
    """Rounds of register, describe, unregister; some with a worker, a request, and a failure."""
    with Connection(server.management_port) as manage, Connection(server.port) as infer:
        for number in range(rounds):
            has_worker = number % workers_every == 0
            query = f"url=noop.mar&model_name=m&initial_workers={int(has_worker)}"
            assert manage.request("POST", f"/models?{query}").status == 200
            assert manage.request("GET", "/models/m").status == 200
            if has_worker:
                assert infer.request("POST", "/predictions/m", b"x").status == 200
            assert manage.request("DELETE", "/models/m").status == 200
        failing = "/models?url=refuses.mar&initial_workers=1"
        assert manage.request("POST", failing).status == 500


def run(server: Server, rounds: int, workers_every: int) -> None:
    # The first rounds fill what is kept for reuse: threads, allocator, buffers.
    churn(server, max(25, rounds // 10), workers_every)
    before = at_rest(server)
    churn(server, rounds, workers_every)
    try:
        wait_until(lambda: settled(server) and is_back(server, before), 20, "as before")
    finally:
        print(f"{rounds} rounds: {before} -> {Footprint.of(server)}")


def at_rest(server: Server) -> Footprint:
    """What the server has once nothing changes any more; queues go a second after their model."""
    footprints = [Footprint.of(server)]

    def rests() -> bool:
        time.sleep(1.5)
        footprints.append(Footprint.of(server))
        return footprints[-1].descriptors == footprints[-2].descriptors

    settled(server)
    wait_until(rests, 20, "the server is at rest")
    return footprints[-1]


def settled(server: Server) -> bool:
    # The server and its janitor.
    wait_until(lambda: len(server.processes()) == 2, 15, "no worker is left")
    return True


def is_back(server: Server, before: Footprint) -> bool:
    now = Footprint.of(server)
    return (
        now.private_kib <= before.private_kib + SLACK_KIB
        and now.shared_kib <= before.shared_kib + 64
        and now.descriptors <= before.descriptors
        # Blocking work has threads of its own, which end when they are idle.
        and now.threads <= before.threads + 2
        and now.folders == before.folders
        and now.logged_files <= before.logged_files
    )


def test_a_hundred_rounds(server: Server) -> None:
    run(server, 100, workers_every=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not os.environ.get("TSERVE_SLOW"), reason="takes minutes; `make fault` runs it")
def test_a_thousand_rounds(server: Server) -> None:
    run(server, 1000, workers_every=3)
