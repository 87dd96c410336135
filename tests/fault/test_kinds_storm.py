"""Workers of every kind of batching are killed under load: each request is answered once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from harness.client import Connection
from harness.processes import kill, wait_until
from harness.server import Server
from harness.streams import BrokenOff, Stream

KILLS, MOST_KILLS = 2, 20
CLIENTS = 6
ID, START = "ts_request_sequence_id", "ts_request_sequence_start"
SEQUENCES = {
    "sequenceBatching": "true",
    "sequenceMaxIdleMSec": 60_000,
    "maxNumSequence": 64,
    "maxSequenceJobQueueSize": 4,
}


class Load:
    """Clients that go on until they are told to stop; what they find wrong is in `wrong`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stop = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def failed(self, status: int, message: str) -> None:
        self.outcomes[str(status)] += 1
        if status not in (500, 507) or message != "Worker died.":
            self.wrong.append(f"{status}: {message}")

    def met_a_dead_worker(self) -> bool:
        """Whether a request was lost with its worker."""
        return sum(self.outcomes.values()) > self.outcomes["200"]

    def count(self, number: int) -> None:
        """A sequence that counts up, and begins again when it is lost."""
        expected = 0
        with Connection(self.server.port) as connection:
            while not self.stop.is_set():
                headers = {ID: f"s{number}", **({START: "true"} if expected == 0 else {})}
                body = json.dumps({"n": 1}).encode()
                answer = connection.request("POST", "/predictions/stateful", body, headers)
                if answer.status != 200:
                    self.failed(answer.status, answer.message())
                    expected = 0
                    continue
                self.outcomes["200"] += 1
                expected += 1
                got = json.loads(answer.body)["sum"]
                # A sequence that was lost while none of its requests ran begins at 1 again.
                if got not in (expected, 1):
                    self.wrong.append(f"s{number}: {got} instead of {expected}")
                expected = got

    def tell(self, number: int) -> None:
        """Streams of pieces, whole or visibly cut off."""
        wish = {"word": f"w{number}-", "n": 20, "pause": 0.002}
        wanted = [f"w{number}-{piece} ".encode() for piece in range(1, 21)]
        while not self.stop.is_set():
            with Stream(self.server.port, "/predictions/rounds", wish) as stream:
                self.read(stream, wanted)

    def wait(self, number: int) -> None:
        """Asynchronous streams, whole or visibly cut off."""
        wish = {"tag": f"t{number}-", "parts": 5, "pause": 0.01, "sleep": 0.02}
        wanted = [*(f"t{number}-{part} ".encode() for part in range(5)), f"t{number}-".encode()]
        while not self.stop.is_set():
            with Stream(self.server.port, "/predictions/later", wish) as stream:
                self.read(stream, wanted)

    def read(self, stream: Stream, wanted: list[bytes]) -> None:
        status, headers = stream.head()
        if status != 200:
            body = stream._exactly(int(headers["content-length"]))
            return self.failed(status, json.loads(body)["message"])
        got: list[bytes] = []
        try:
            got.extend(stream.chunks())
        except BrokenOff:
            self.outcomes["cut off"] += 1
            return None
        self.outcomes["200"] += 1
        if got != wanted:
            self.wrong.append(f"{got} instead of {wanted}")
        return None


def kill_one(server: Server, model: str, load: Load) -> None:
    before = load.outcomes["200"]
    wait_until(lambda: load.outcomes["200"] > before + 20, 30, "requests are answered")
    killed = server.worker_pids(model)[0]
    kill(killed)
    wait_until(lambda: killed not in server.worker_pids(model), 20, "it is noticed")
    server.wait_until_loaded(model)


def storm(server: Server, model: str, client: Callable[[Load, int], None]) -> None:
    load = Load(server)
    threads = [threading.Thread(target=client, args=(load, n)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        # A worker that happens to be idle takes nobody's request with it.
        for killed in range(MOST_KILLS):
            if killed >= KILLS and load.met_a_dead_worker():
                break
            kill_one(server, model, load)
    finally:
        load.stop.set()
        deadline = time.monotonic() + 30
        for thread in threads:
            thread.join(timeout=max(0.1, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a request hangs"
    assert not load.wrong, load.wrong[:5]
    print(dict(load.outcomes))
    assert load.met_a_dead_worker(), "nobody met a dead worker"


@pytest.mark.parametrize(
    ("model", "settings", "client"),
    [
        ("stateful", {"minWorkers": 2, **SEQUENCES}, Load.count),
        ("stateful", {"minWorkers": 1, "continuousBatching": "true", **SEQUENCES}, Load.count),
        ("rounds", {"minWorkers": 1, "continuousBatching": "true"}, Load.tell),
        ("later", {"minWorkers": 2, "asyncCommunication": "true"}, Load.wait),
    ],
    ids=["sequences", "sequences in rounds", "continuous", "async"],
)
def test_every_request_is_answered_while_workers_die(
    start_server, model: str, settings: dict[str, Any], client: Callable[[Load, int], None]
) -> None:
    batch = 1 if model == "later" else 4
    more = {"batchSize": batch, "maxBatchDelay": 5, "responseTimeout": 20}
    server = start_server({"name": model, "settings": {**more, **settings}})
    storm(server, model, client)
