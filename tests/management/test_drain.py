"""Scaling down, unregistering and stopping under load: what was admitted is answered, once.

A request that is told 503 is not run to its end, and none is begun after its client was told.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ServerFactory
from harness.archives import build_archive
from harness.client import open_socket
from harness.journal import JournalLoad
from harness.processes import kill, wait_until
from harness.server import Server

Start = Callable[..., JournalLoad]


@pytest.fixture
def start(start_server: ServerFactory, tmp_path: Path) -> Iterator[Start]:
    """A server with the model `journal`, and clients for it; what always holds is checked last."""
    loads: list[JournalLoad] = []

    def started(workers: int = 1, **config: object) -> JournalLoad:
        journal = tmp_path / "journal"
        server = start_server(
            {"name": "journal", "settings": {"minWorkers": workers}},
            config=config,
            environment={"JOURNAL": str(journal)},
        )
        loads.append(JournalLoad(server, journal))
        return loads[-1]

    yield started
    for load in loads:
        load.finish()
        load.check()


def wait_for_requests(load: JournalLoad, count: int) -> None:
    wait_until(lambda: len(load.exchanges) >= count, 30, f"{count} more requests are answered")


def begun(load: JournalLoad, count: int) -> Callable[[], bool]:
    return lambda: len(load.noted("begin")) >= count


def waiting(server: Server) -> int:
    status = server.describe("journal")["jobQueueStatus"]
    assert isinstance(status, dict)
    return int(status["pendingRequests"])


def scale(server: Server, query: str) -> int:
    return server.manage("PUT", f"/models/journal?synchronous=true&{query}").status


def test_scaling_up_and_down_loses_nothing(start: Start) -> None:
    load = start().start(6, 0.002)
    for workers in (3, 1, 2, 1):
        assert scale(load.server, f"min_worker={workers}&max_worker={workers}") == 200
        assert len(load.server.workers("journal")) == workers
        wait_for_requests(load, len(load.exchanges) + 20)
    load.finish()
    assert set(load.statuses()) == {200}


def test_scaling_to_zero_runs_what_was_admitted(start: Start) -> None:
    load = start().start(6, 0.02)
    wait_for_requests(load, 20)
    assert scale(load.server, "min_worker=0&max_worker=0") == 200
    assert waiting(load.server) == 0
    seen = len(load.exchanges)
    wait_for_requests(load, seen + 20)
    assert {it.answer.status for it in load.exchanges[seen + 6 :] if it.answer} == {503}
    assert scale(load.server, "min_worker=1") == 200
    assert load.ask().answer is not None
    load.finish()
    last = load.exchanges[-1].answer
    assert last is not None
    assert last.status == 200


def test_unregistering_runs_what_was_admitted(start: Start) -> None:
    load = start().start(6, 0.02)
    for _ in range(3):
        wait_for_requests(load, len(load.exchanges) + 20)
        assert load.server.manage("DELETE", "/models/journal").status == 200
        assert load.server.model_names() == []
        registered = load.server.manage("POST", "/models?url=journal.mar&initial_workers=1")
        assert registered.status == 200
    load.finish()
    statuses = load.statuses()
    assert set(statuses) <= {200, 404, 503}
    assert statuses[200] > 60


@pytest.mark.parametrize("how", ["unregister", "scale"])
def test_a_drain_is_bounded(start: Start, how: str) -> None:
    load = start(drain_timeout=1)
    load.start(1, 30)
    wait_until(begun(load, 1), 10, "the long request runs")
    load.start(1, 31)
    wait_until(lambda: waiting(load.server) == 1, 10, "another waits")
    path = "/models/journal" + ("?min_worker=0&max_worker=0&synchronous=true" * (how == "scale"))
    before = time.monotonic()
    answer = load.server.manage("DELETE" if how == "unregister" else "PUT", path)
    assert answer.status == 200
    assert 0.9 < time.monotonic() - before < 10
    wait_for_requests(load, 2)
    load.finish()
    answers = {it.number: it.answer for it in load.exchanges}
    for answer in (answers[0], answers[1]):
        assert answer is not None
        assert answer.status == 503


@pytest.mark.parametrize("seconds", [0, 1])
def test_the_client_says_how_long_a_drain_may_take(start: Start, seconds: int) -> None:
    load = start(drain_timeout=60).start(1, 30)
    wait_until(begun(load, 1), 10, "a long request runs")
    before = time.monotonic()
    assert scale(load.server, f"min_worker=0&max_worker=0&timeout={seconds}") == 200
    assert seconds - 0.1 < time.monotonic() - before < 10
    load.finish()
    assert set(load.statuses()) == {503}


def test_a_first_signal_drains(start: Start) -> None:
    load = start(2)
    load.start(6, 0.3)
    wait_until(begun(load, 4), 10, "requests run")
    wait_until(lambda: waiting(load.server) >= 2, 10, "and wait")
    admitted = 6
    seen = len(load.exchanges)
    assert load.server.terminate() == 0
    load.finish()
    answers = [it.answer for it in load.exchanges[seen:]]
    assert sum(answer is not None and answer.status == 200 for answer in answers) >= admitted - 1
    assert set(load.statuses()) <= {200, 503, 0}


def test_a_second_signal_hurries(start: Start) -> None:
    load = start(drain_timeout=60)
    load.start(3, 30)
    wait_until(begun(load, 1), 10, "a long request runs")
    wait_until(lambda: waiting(load.server) == 2, 10, "others wait")
    process = load.server.process
    assert process is not None
    kill(process.pid, signal.SIGTERM)
    with pytest.raises(AssertionError):
        wait_until(lambda: not load.server.is_running(), 1, "it drains")
    before = time.monotonic()
    kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert time.monotonic() - before < 8
    load.finish()
    # A clear answer, not a reset, for those that ran and those that waited.
    assert load.statuses() == {503: 3}


def test_a_stop_is_bounded(start: Start) -> None:
    load = start(drain_timeout=1)
    load.start(3, 30)
    wait_until(begun(load, 1), 10, "a long request runs")
    wait_until(lambda: waiting(load.server) == 2, 10, "others wait")
    before = time.monotonic()
    assert load.server.terminate() == 0
    assert 0.9 < time.monotonic() - before < 10
    load.finish()
    assert load.statuses() == {503: 3}


def test_an_operation_goes_on_when_its_client_leaves(start: Start) -> None:
    load = start()
    build_archive(load.server.store, "noop")
    for method, path, is_done in [
        ("POST", "/models?url=noop.mar&initial_workers=1", lambda: "noop" in names(load)),
        ("PUT", "/models/noop?min_worker=2&synchronous=true", lambda: workers(load) == 2),
        ("DELETE", "/models/noop", lambda: names(load) == ["journal"]),
    ]:
        with open_socket(load.server.management_port) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        wait_until(is_done, 20, f"{method} {path} is done")
        if method != "DELETE":
            load.server.wait_until_loaded("noop")
    folder = load.server.temporary
    wait_until(lambda: len(list(folder.glob("tserve-*/models/*"))) == 1, 10, "its folder is gone")


def names(load: JournalLoad) -> list[str]:
    return load.server.model_names()


def workers(load: JournalLoad) -> int:
    return len(load.server.workers("noop"))
