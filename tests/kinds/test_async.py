"""Asynchronous handlers: many requests in one worker, answered in any order."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.processes import kill, wait_until
from harness.server import Server
from harness.streams import BrokenOff, Stream

SETTINGS = {"minWorkers": 1, "batchSize": 1, "asyncCommunication": "true"}
PATH = "/predictions/later"


def model(**settings: object) -> dict[str, Any]:
    return {"name": "later", "settings": {**SETTINGS, **settings}}


@pytest.fixture
def server(start_server) -> Server:
    return start_server(model())


def test_the_quick_overtakes_the_slow(server: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(server.predict_json, "later", {"tag": "slow", "sleep": 2})
        time.sleep(0.2)
        begun = time.monotonic()
        assert server.predict_json("later", {"tag": "quick"}).body == b"quick"
        assert time.monotonic() - begun < 1.5
        assert not slow.done()
        assert slow.result().body == b"slow"


def test_far_more_run_together_than_a_link_holds_of_others(server: Server) -> None:
    with ThreadPoolExecutor(48) as pool:
        wishes = [{"tag": str(n), "sleep": 1.0} for n in range(48)]
        begun = time.monotonic()
        answers = list(pool.map(lambda wish: server.predict_json("later", wish), wishes))
        assert time.monotonic() - begun < 15
    assert [answer.text for answer in answers] == [str(n) for n in range(48)]
    assert int(server.predict_json("later", {"most": True}).text) > 20


def test_batches_of_several_are_answered(start_server) -> None:
    server = start_server(model(batchSize=4, maxBatchDelay=20))
    with ThreadPoolExecutor(12) as pool:
        wishes = [{"tag": str(n), "sleep": 0.05} for n in range(24)]
        answers = list(pool.map(lambda wish: server.predict_json("later", wish), wishes))
    assert [answer.text for answer in answers] == [str(n) for n in range(24)]


def test_streams_run_side_by_side(server: Server) -> None:
    with (
        Stream(server.port, PATH, {"tag": "a", "parts": 3, "pause": 0.2}) as one,
        Stream(server.port, PATH, {"tag": "b", "parts": 3}) as two,
    ):
        for stream, tag in ((two, "b"), (one, "a")):
            assert stream.head()[1]["ts_stream_next"] == "true"
            parts = [f"{tag}{number} ".encode() for number in range(3)]
            assert list(stream.chunks()) == [*parts, tag.encode()]


def test_an_error_is_told_to_its_own_request_only(server: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(server.predict_json, "later", {"tag": "other", "sleep": 0.6})
        time.sleep(0.2)
        failed = server.predict_json("later", {"raise": True})
        assert (failed.status, failed.message()) == (503, "Prediction failed")
        assert other.result().body == b"other"


def test_a_request_whose_client_leaves_is_cancelled(server: Server, tmp_path: Path) -> None:
    report = tmp_path / "report"
    wish = {"tag": "a", "sleep": 60, "report": str(report)}
    with Stream(server.port, PATH, wish):
        time.sleep(0.3)
    wait_until(lambda: report.exists() and report.read_text() == "a cancelled\n", 10, "cancelled")
    assert server.predict_json("later", {"tag": "next"}).body == b"next"


def test_a_stream_whose_client_leaves_is_stopped(server: Server, tmp_path: Path) -> None:
    report = tmp_path / "report"
    wish = {"tag": "a", "parts": 100_000, "report": str(report)}
    with Stream(server.port, PATH, wish) as stream:
        stream.head()
    wait_until(report.exists, 10, "stopped")
    assert server.predict_json("later", {"tag": "next"}).body == b"next"


def test_a_client_that_does_not_read_loses_its_own_stream_only(
    server: Server, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    wish = {"tag": "a", "parts": 1000, "size": 100_000, "report": str(report)}
    with Stream(server.port, PATH, wish, receive_buffer=4096) as slow:
        slow.head()
        for number in range(20):
            assert server.predict_json("later", {"tag": str(number)}).text == str(number)
        wait_until(report.exists, 20, "its handler is told")


def test_what_takes_too_long_fails_alone(start_server, tmp_path: Path) -> None:
    server = start_server(model(responseTimeout=1))
    (before,) = server.worker_pids("later")
    report = tmp_path / "report"
    late = server.predict_json("later", {"tag": "a", "sleep": 60, "report": str(report)})
    assert late.status == 500
    assert "response timeout of 1 s" in late.message()
    wait_until(report.exists, 10, "it is cancelled")
    assert server.predict_json("later", {"tag": "next"}).body == b"next"
    assert server.worker_pids("later") == [before]


def test_a_worker_that_reacts_to_nothing_is_replaced(start_server) -> None:
    server = start_server(model(responseTimeout=1))
    (before,) = server.worker_pids("later")
    assert server.predict_json("later", {"block": 60}).status == 500
    wait_until(lambda: before not in server.worker_pids("later"), 15, "it is killed")
    server.wait_until_loaded("later")
    assert server.predict_json("later", {"tag": "next"}).body == b"next"


def test_all_that_a_dying_worker_had_is_answered(server: Server) -> None:
    (before,) = server.worker_pids("later")
    with ThreadPoolExecutor(10) as pool:
        running = [pool.submit(server.predict_json, "later", {"sleep": 30}) for _ in range(9)]
        with Stream(server.port, PATH, {"tag": "a", "parts": 1000, "pause": 0.05}) as stream:
            stream.head()
            time.sleep(0.3)
            kill(before)
            for one in running:
                assert one.result().status in (500, 507)
                assert one.result().message() == "Worker died."
            with pytest.raises(BrokenOff):
                list(stream.chunks())
    assert server.predict_json("later", {"tag": "next"}).body == b"next"


def test_a_handler_that_is_not_asynchronous_is_called_all_the_same(start_server) -> None:
    server = start_server({"name": "hasty", "settings": SETTINGS})
    assert server.predict("hasty", b"body").body == b"body"


def test_unregistering_lets_requests_end(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.predict_json, "later", {"tag": "a", "sleep": 1})
        time.sleep(0.2)
        assert server.manage("DELETE", "/models/later").status == 200
        assert running.result().body == b"a"


def test_it_does_not_go_with_rounds(start_server) -> None:
    server = start_server("counted", model(continuousBatching="true"), models=["counted.mar"])
    answer = server.manage("POST", "/models?url=later.mar")
    assert answer.status == 400
    assert "asyncCommunication cannot be combined" in answer.message()
