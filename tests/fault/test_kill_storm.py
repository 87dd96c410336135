"""A worker is killed every second, under load: every request gets exactly one answer."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from harness.client import Connection
from harness.processes import kill
from harness.server import Server

CLIENTS = 8
CLEAR_FAILURES = {500: "Worker died.", 507: "Worker died."}


@dataclass
class Load:
    """Clients that send numbered requests to one model, one after another, until told to stop."""

    server: Server
    model: str
    stop: threading.Event
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    slowest: float = 0

    def client(self) -> None:
        with Connection(self.server.port, timeout=30) as connection:
            while not self.stop.is_set():
                body = f"{self.model} {next(self.numbers)}".encode()
                begun = time.monotonic()
                try:
                    answer = connection.request("POST", f"/predictions/{self.model}", body)
                except (OSError, ValueError) as error:
                    self.wrong.append(f"no answer to {body!r}: {error!r}")
                    return
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.statuses[answer.status] += 1
                if answer.status == 200 and answer.body != body:
                    self.wrong.append(f"{body!r} was answered with {answer.body!r}")
                elif answer.status == 503:
                    if answer.json()["type"] != "ServiceUnavailableException":
                        self.wrong.append(f"503 without a reason: {answer}")
                elif answer.status != 200 and answer.message() != CLEAR_FAILURES.get(answer.status):
                    self.wrong.append(f"unclear answer: {answer}")

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self.client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads


def storm(server: Server, seconds: int) -> None:
    stop = threading.Event()
    victim, neighbour = Load(server, "victim", stop), Load(server, "neighbour", stop)
    threads = victim.start() + neighbour.start()
    neighbours = server.worker_pids("neighbour")
    killed = []
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            next_kill = time.monotonic() + 1
            fresh = [pid for pid in server.worker_pids("victim") if pid not in killed]
            if fresh:
                kill(fresh[0])
                killed.append(fresh[0])
            time.sleep(max(0, next_kill - time.monotonic()))
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    print(f"killed {len(killed)}: victim {dict(victim.statuses)}, slowest {victim.slowest:.2f} s;")
    print(f"neighbour {dict(neighbour.statuses)}, slowest {neighbour.slowest:.2f} s")
    assert not any(thread.is_alive() for thread in threads), "a request was never answered"
    assert victim.wrong == []
    assert neighbour.wrong == []
    assert len(killed) >= seconds * 0.7
    assert victim.statuses[200] > 10 * len(killed), "the model serves between the deaths"
    # Only what ran on a killed worker may fail: at most two batches, of one request each.
    assert victim.statuses[500] + victim.statuses[507] <= 2 * len(killed)
    assert set(neighbour.statuses) == {200}
    assert server.worker_pids("neighbour") == neighbours
    server.wait_until_loaded("victim")
    assert server.predict("victim", b"after").body == b"after"


@pytest.fixture
def server(start_server) -> Server:
    victim = {"name": "victim", "handler": "counted.py", "settings": {"minWorkers": 2}}
    return start_server(victim, {"name": "neighbour", "handler": "counted.py"})


def test_ten_seconds(server: Server) -> None:
    storm(server, 10)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(
    not os.environ.get("TSERVE_SLOW"), reason="takes a minute; `make fault` runs it"
)
def test_a_minute(server: Server) -> None:
    storm(server, 60)
