"""Clients of the model `journal`, and what must hold between their answers and its journal.

The handler writes down when it begins and ends each request. So a test can tell not only that every
request was answered, but also that none was run whose client was told otherwise.
"""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from harness.client import Answer, Connection
from harness.server import Server


@dataclass(frozen=True)
class Exchange:
    """One request and what became of it."""

    number: int
    body: bytes
    answer: Answer | None  # None: the connection ended before an answer came
    ended: float  # when the client knew, by the clock that all processes share
    took: float


class JournalLoad:
    """Clients that send numbered requests, one after another, until told to stop."""

    def __init__(self, server: Server, journal: Path, path: str = "/predictions/journal") -> None:
        self.server = server
        self.journal = journal
        self.path = path
        self.exchanges: list[Exchange] = []
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, clients: int, seconds: float = 0.0) -> JournalLoad:
        """Starts clients whose requests take so long; more may be started later."""
        for _ in range(clients):
            thread = threading.Thread(target=self._client, args=(seconds,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def ask(self, seconds: float = 0.0) -> Exchange:
        """Sends one request on a connection of its own."""
        with Connection(self.server.port, timeout=60) as connection:
            return self._exchange(connection, seconds)

    def _client(self, seconds: float) -> None:
        while not self._stop.is_set():
            try:
                with Connection(self.server.port, timeout=60) as connection:
                    while not self._stop.is_set():
                        exchange = self._exchange(connection, seconds)
                        if exchange.answer is None or exchange.answer.status >= 400:
                            break
            except ConnectionRefusedError:  # the server has stopped
                return
            time.sleep(0.002)

    def _exchange(self, connection: Connection, seconds: float) -> Exchange:
        number = next(self._numbers)
        body = f"{number} {seconds}".encode()
        begun = time.monotonic()
        answer = None
        try:
            answer = connection.request("POST", self.path, body)
        except ConnectionRefusedError:
            raise
        except (ConnectionError, http.client.HTTPException):
            pass  # ended without an answer; check() wants to know why that is all right
        now = time.monotonic()
        exchange = Exchange(number, body, answer, now, now - begun)
        self.exchanges.append(exchange)
        return exchange

    def finish(self) -> None:
        """Ends the clients; fails when one of them never gets its answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"

    def statuses(self) -> Counter[int]:
        """How many requests got which status; 0 is a connection that ended without an answer."""
        return Counter(it.answer.status if it.answer else 0 for it in self.exchanges)

    def noted(self, word: str) -> dict[int, list[float]]:
        """When the handler began (or ended) each request; once, if all is well."""
        times: dict[int, list[float]] = {}
        text = self.journal.read_text() if self.journal.exists() else ""
        for line in text.splitlines():
            what, number, at = line.split()
            if what == word:
                times.setdefault(int(number), []).append(float(at))
        return times

    def check(self) -> None:
        """What holds for every request, whatever happens to its model and server."""
        begun, ended = self.noted("begin"), self.noted("end")
        for exchange in self.exchanges:
            begins, ends = begun.get(exchange.number, []), ended.get(exchange.number, [])
            story = f"{exchange}, begun {begins}, ended {ends}"
            assert len(begins) <= 1, f"run twice: {story}"
            if exchange.answer is None:
                assert not begins, f"run, and not answered: {story}"
            elif exchange.answer.status == 200:
                assert exchange.answer.body == exchange.body, f"another's answer: {story}"
                assert len(ends) == 1, f"answered, and not run: {story}"
            else:
                assert exchange.answer.status in (404, 503), story
                error = exchange.answer.json()
                assert isinstance(error, dict)
                kinds = ("ServiceUnavailableException", "ModelNotFoundException")
                assert error["type"] in kinds, story
                assert error["message"], story
                assert not ends, f"refused, and run to its end: {story}"
                late = [at for at in begins if at > exchange.ended]
                assert not late, f"begun after its client was told otherwise: {story}"
