"""Continuous batching: requests join and leave a worker's batch between its rounds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.processes import kill, wait_until
from harness.server import Server
from harness.streams import BrokenOff, Stream

SETTINGS = {"minWorkers": 1, "batchSize": 4, "maxBatchDelay": 10, "continuousBatching": "true"}
PATH = "/predictions/rounds"


def model(**settings: object) -> dict[str, Any]:
    return {"name": "rounds", "settings": {**SETTINGS, **settings}}


def stream(server: Server, word: str, n: int, **wish: object) -> Stream:
    return Stream(server.port, PATH, {"word": word, "n": n, **wish})


def pieces(word: str, first: int, last: int) -> list[bytes]:
    return [f"{word}{number} ".encode() for number in range(first, last + 1)]


def rounds_of(report: Path) -> list[set[str]]:
    lines = report.read_text().splitlines() if report.exists() else []
    return [set(line.split()) for line in lines]


def test_every_round_is_a_chunk(start_server) -> None:
    server = start_server(model())
    with stream(server, "a", 3) as one:
        status, headers = one.head()
        assert (status, headers["ts_stream_next"]) == (200, "true")
        assert list(one.chunks()) == pieces("a", 1, 3)


def test_one_that_comes_later_joins_between_rounds(start_server, tmp_path: Path) -> None:
    server = start_server(model())
    gate, report = tmp_path / "gate", tmp_path / "report"
    with stream(server, "a", 6, gate=str(gate), report=str(report)) as long:
        long.head()
        assert long.chunk() == b"a1 "
        with stream(server, "b", 2) as short:
            gate.touch()
            short.head()
            assert list(short.chunks()) == pieces("b", 1, 2)
        assert list(long.chunks()) == pieces("a", 2, 6)
    assert {"a", "b"} in rounds_of(report)


def test_no_round_is_larger_than_a_batch(start_server, tmp_path: Path) -> None:
    server = start_server(model(batchSize=2))
    report = tmp_path / "report"

    def run(word: str) -> list[bytes]:
        with stream(server, word, 5, report=str(report)) as one:
            one.head()
            return list(one.chunks())

    with ThreadPoolExecutor(6) as pool:
        for word, got in zip("abcdef", pool.map(run, "abcdef"), strict=True):
            assert got == pieces(word, 1, 5)
    assert max(map(len, rounds_of(report))) == 2


def test_an_answer_without_a_criterion_is_whole(start_server) -> None:
    server = start_server(model())
    answer = server.predict_json("rounds", {"word": "a", "whole": True})
    assert (answer.status, answer.body) == (200, b"a1 ")
    assert answer.headers["content-length"] == "3"


def test_a_stream_that_is_over_with_its_first_piece_is_answered(start_server) -> None:
    server = start_server(model())
    answer = server.predict_json("rounds", {"word": "a", "n": 1})
    assert (answer.status, answer.body) == (200, b"a1 ")


def test_one_whose_client_leaves_is_dropped_and_the_others_go_on(
    start_server, tmp_path: Path
) -> None:
    server = start_server(model())
    report = tmp_path / "report"
    with stream(server, "a", 40, pause=0.02, report=str(report)) as staying:
        staying.head()
        with stream(server, "b", 10_000) as leaving:
            leaving.head()
            assert leaving.chunk() == b"b1 "
        wait_until(lambda: {"a", "b"} in rounds_of(report), 10, "they shared a round")
        wait_until(lambda: rounds_of(report)[-1] == {"a"}, 10, "the one that left is dropped")
        assert list(staying.chunks()) == pieces("a", 1, 40)


def test_an_error_fails_the_round_and_the_next_request_is_served(start_server) -> None:
    server = start_server(model())
    with stream(server, "a", 9, fail_at=2) as failing:
        failing.head()
        with pytest.raises(BrokenOff):
            list(failing.chunks())
    early = server.predict_json("rounds", {"word": "a", "fail_at": 0})
    assert (early.status, early.message()) == (503, "Prediction failed")
    assert server.predict_json("rounds", {"word": "b", "n": 2}).body == b"b1 b2 "


def test_a_slow_client_does_not_fill_the_memory_of_the_server(start_server) -> None:
    server = start_server(model(responseTimeout=60), config={"stream_stall_timeout": 2})
    wish = {"word": "s", "n": 100_000, "size": 100_000}
    with Stream(server.port, PATH, wish, receive_buffer=4096) as slow:
        slow.head()
        # It reads nothing more. Its neighbour waits until the server gives up on it, no longer.
        begun = time.monotonic()
        assert server.predict_json("rounds", {"word": "a", "n": 3}).body == b"a1 a2 a3 "
        assert time.monotonic() - begun < 10


def test_describe_runs_alone_and_once(start_server) -> None:
    server = start_server(model())
    answer = server.manage("GET", "/models/rounds?customized=true")
    # The handler knows nothing of descriptions, and fails.
    assert answer.status in (200, 500, 503), answer
    assert server.predict_json("rounds", {"word": "b", "n": 2}).body == b"b1 b2 "


def test_scaling_down_lets_streams_end(start_server) -> None:
    server = start_server(model())
    with stream(server, "a", 30, pause=0.03) as one:
        one.head()
        assert one.chunk() == b"a1 "
        assert server.manage("DELETE", "/models/rounds").status == 200
        assert list(one.chunks()) == pieces("a", 2, 30)


def test_streams_end_with_their_worker_and_the_next_serves_on(start_server) -> None:
    server = start_server(model())
    (before,) = server.worker_pids("rounds")
    with stream(server, "a", 1000, pause=0.01) as one, stream(server, "b", 1000) as two:
        for each in (one, two):
            each.head()
            each.chunk()
        kill(before)
        for each in (one, two):
            with pytest.raises(BrokenOff):
                list(each.chunks())
    assert server.predict_json("rounds", {"word": "c", "n": 2}, timeout=30).body == b"c1 c2 "
    assert server.worker_pids("rounds") != [before]
