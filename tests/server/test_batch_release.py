"""When a batch that is not full starts: at once if nobody can add to it, else after its delay."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.server import Server

DELAY_MS = 1500
# For twice the delay after a new connection, another one is to be reckoned with.
SETTLED_S = 2 * DELAY_MS / 1000 + 0.5
BATCHES = {
    "name": "batches",
    "settings": {"batchSize": 4, "maxBatchDelay": DELAY_MS, "minWorkers": 1, "maxWorkers": 1},
}


class Client:
    """A client that keeps its connection."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        # An answer proves that the server knows the connection.
        self._connection.request("GET", "/ping")
        self._connection.getresponse().read()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self) -> tuple[float, int]:
        """Seconds that the answer took, and how many requests were in its batch."""
        started = time.monotonic()
        self._connection.request("POST", "/predictions/batches", b"x")
        answer = json.loads(self._connection.getresponse().read())
        return time.monotonic() - started, answer["together"]


@pytest.fixture
def server(start_server, request: pytest.FixtureRequest) -> Server:
    return start_server(BATCHES, config=getattr(request, "param", {}))


def test_a_lone_client_that_is_known_does_not_wait_for_company(server: Server) -> None:
    with Client(server) as client:
        assert client.ask()[0] >= DELAY_MS / 1000, "where one has just come from, others may follow"
        time.sleep(SETTLED_S)
        seconds, together = client.ask()
        assert (seconds < DELAY_MS / 1000, together) == (True, 1), f"{seconds} s"
        # Somebody else is there, and could add to the batch.
        with Client(server) as other, ThreadPoolExecutor(2) as threads:
            time.sleep(SETTLED_S)
            assert client.ask()[0] >= DELAY_MS / 1000
            # Once both wait, nobody is left.
            answers = [threads.submit(one.ask) for one in (client, other)]
            assert all(answer.result()[0] < DELAY_MS / 1000 for answer in answers)


def test_new_connections_are_reckoned_with(server: Server) -> None:
    def ask() -> int:
        with Client(server) as client:
            return client.ask()[1]

    time.sleep(SETTLED_S)
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(ask) for _ in range(3)]
        assert [answer.result() for answer in answers] == [3, 3, 3]


@pytest.mark.parametrize("server", [{"fixed_batch_delay": "true"}], indirect=True)
def test_the_delay_can_be_fixed(server: Server) -> None:
    with Client(server) as client:
        client.ask()
        time.sleep(SETTLED_S)
        assert client.ask()[0] >= DELAY_MS / 1000
