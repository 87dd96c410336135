"""Sequence batching: one worker per sequence, one request at a time, clear ends."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from harness.client import Answer
from harness.processes import kill, wait_until
from harness.server import Server

ID, START, END = (f"ts_request_sequence_{word}" for word in ("id", "start", "end"))
SETTINGS = {
    "minWorkers": 2,
    "batchSize": 4,
    "maxBatchDelay": 30,
    "sequenceBatching": "true",
    "sequenceMaxIdleMSec": 20_000,
    "maxNumSequence": 4,
    "maxSequenceJobQueueSize": 8,
}


def model(**settings: object) -> dict[str, Any]:
    return {"name": "stateful", "settings": {**SETTINGS, **settings}}


def ask(
    server: Server,
    sequence: str | None,
    n: int = 0,
    headers: Mapping[str, str] = {},
    **wish: object,
) -> Answer:
    named = {} if sequence is None else {ID: sequence}
    return server.predict("stateful", json.dumps({"n": n, **wish}).encode(), {**named, **headers})


def answered(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer
    value = answer.json()
    assert isinstance(value, dict)
    return value


def test_each_sequence_stays_with_one_worker_and_both_workers_get_some(start_server) -> None:
    server = start_server(model())
    with ThreadPoolExecutor(4) as pool:

        def run(name: str) -> list[dict[str, Any]]:
            first = answered(ask(server, name, 1, {START: "true"}))
            return [first, *(answered(ask(server, name, n)) for n in range(2, 6))]

        runs = list(pool.map(run, "abcd"))
    for run_ in runs:
        assert [answer["sum"] for answer in run_] == [1, 3, 6, 10, 15]
        assert len({answer["pid"] for answer in run_}) == 1
    assert len({run_[0]["pid"] for run_ in runs}) == 2


def test_requests_of_one_sequence_run_in_order_and_never_together(start_server) -> None:
    server = start_server(model(minWorkers=1))
    answered(ask(server, "a", 0, {START: "true"}))
    with ThreadPoolExecutor(8) as pool:
        waiting: list[Future[Answer]] = []
        for n in range(1, 7):
            waiting.append(pool.submit(ask, server, "a", 10**n, pause=0.05))
            time.sleep(0.02)  # so that they arrive in this order
        sums = [answered(one.result())["sum"] for one in waiting]
        together = [answered(one.result())["together"] for one in waiting]
    assert sums == [sum(10**k for k in range(1, n + 1)) for n in range(1, 7)]
    assert together == [["a"]] * 6


def test_requests_of_several_sequences_form_a_batch(start_server) -> None:
    server = start_server(model(minWorkers=1, maxBatchDelay=2000))
    with ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        answers = list(pool.map(lambda name: answered(ask(server, name, 1)), "abcd"))
        assert time.monotonic() - begun < 1.5, "a full batch waits for nothing"
    assert {tuple(sorted(answer["together"])) for answer in answers} == {("a", "b", "c", "d")}


def test_a_request_without_an_id_begins_a_sequence_that_its_handler_is_told(start_server) -> None:
    server = start_server(model())
    first = ask(server, None, 5)
    told = answered(first)
    assert told["start"] == "true"
    assert first.headers[ID].startswith("ts-seq-")
    again = answered(ask(server, first.headers[ID], 6))
    assert (again["sum"], again["start"], again["pid"]) == (11, None, told["pid"])


def test_names_of_headers_may_be_in_any_case(start_server) -> None:
    server = start_server(model())
    assert answered(ask(server, None, 1, {ID.upper(): "a"}))["start"] is None
    answer = ask(server, "a", 2)
    assert answered(answer)["sum"] == 3
    assert answer.headers[ID] == "a"


def test_too_many_sequences_are_refused_until_one_ends(start_server) -> None:
    server = start_server(model(maxNumSequence=2))
    for name in "ab":
        answered(ask(server, name))
    refused = ask(server, "c")
    assert refused.status == 503
    assert "exceeds maxSequenceJobQueueSize" in refused.message()
    answered(ask(server, "a", headers={END: "true"}))
    answered(ask(server, "c"))
    assert ask(server, "d").status == 503
    answered(ask(server, "b", end=True))
    answered(ask(server, "d"))


def test_a_sequence_has_so_many_requests_waiting_and_no_more(start_server) -> None:
    server = start_server(model(minWorkers=1, maxSequenceJobQueueSize=2))
    answered(ask(server, "a"))
    with ThreadPoolExecutor(8) as pool:
        running = pool.submit(ask, server, "a", 1, pause=1.0)
        time.sleep(0.2)
        waiting = [pool.submit(ask, server, "a", 1) for _ in range(4)]
        statuses = sorted(one.result().status for one in waiting)
        assert statuses == [200, 200, 503, 503]
        assert running.result().status == 200
    assert answered(ask(server, "a"))["sum"] == 3


def test_an_idle_sequence_ends_and_its_id_begins_another(start_server) -> None:
    server = start_server(model(minWorkers=1, maxNumSequence=1, sequenceMaxIdleMSec=300))
    answered(ask(server, "a", 1))
    assert ask(server, "b").status == 503
    wait_until(lambda: ask(server, "b", 1).status == 200, 5, "the idle sequence has ended")
    assert ask(server, "a").status == 503


def test_a_sequence_ends_with_its_time(start_server) -> None:
    server = start_server(model(minWorkers=1, maxNumSequence=1, sequenceTimeoutMSec=600))
    answered(ask(server, "a", 1))
    deadline = time.monotonic() + 5
    while ask(server, "b").status == 503:
        assert time.monotonic() < deadline
        ask(server, "a")  # is not idle meanwhile
        time.sleep(0.05)


def test_an_error_of_the_handler_leaves_the_sequence_alive(start_server) -> None:
    server = start_server(model(minWorkers=1))
    before = answered(ask(server, "a", 1))
    failed = ask(server, "a", **{"raise": True})
    assert (failed.status, failed.message()) == (503, "Prediction failed")
    after = answered(ask(server, "a", 2))
    assert (after["sum"], after["pid"]) == (3, before["pid"])


def test_a_sequence_may_not_live_for_no_time(start_server) -> None:
    server = start_server("counted", model(sequenceMaxIdleMSec=0), models=["counted.mar"])
    answer = server.manage("POST", "/models?url=stateful.mar")
    assert answer.status == 400
    assert "sequenceMaxIdleMSec above 0" in answer.message()


@pytest.mark.parametrize("continuous", [False, True])
def test_sequences_end_with_their_worker_and_begin_again_with_the_next(
    start_server, continuous: bool
) -> None:
    more = {"continuousBatching": "true"} if continuous else {}
    server = start_server(model(minWorkers=1, **more))
    before = answered(ask(server, "a", 1))
    with ThreadPoolExecutor(4) as pool:
        dying = pool.submit(ask, server, "a", pause=0.4, n=1)
        time.sleep(0.2)
        waiting = pool.submit(ask, server, "a", 1)
        other = pool.submit(ask, server, "b", 1)
        time.sleep(0.1)
        kill(before["pid"])
        for lost in (dying, waiting):
            assert lost.result().status in (500, 507), lost.result()
            assert lost.result().message() == "Worker died."
        # This one had not begun: the next worker is as good.
        assert answered(other.result())["sum"] == 1
    after = answered(ask(server, "a", 7, {START: "true"}))
    assert after["sum"] == 7
    assert after["pid"] != before["pid"]
    assert answered(ask(server, "a", 1))["sum"] == 8


def test_rounds_of_sequences_let_one_stream_while_others_come_and_go(start_server) -> None:
    server = start_server(model(minWorkers=1, continuousBatching="true", maxNumSequence=2))
    with ThreadPoolExecutor(4) as pool:
        stream = pool.submit(ask, server, "a", 1, parts=20, pause=0.02)
        time.sleep(0.2)
        sums = [answered(ask(server, "b", 1))["sum"] for _ in range(3)]
        queued = pool.submit(ask, server, "a", 1)
        streamed = stream.result()
    assert sums == [1, 2, 3]
    assert streamed.headers["ts_stream_next"] == "true"
    assert streamed.body.count(b'"sum": 1') == 20
    assert answered(queued.result())["sum"] == 2
    # The handler of a stream ends its sequence, which makes room for another.
    assert ask(server, "c").status == 503
    ended = ask(server, "a", 1, parts=3, end=True)
    assert ended.status == 200
    answered(ask(server, "c"))
