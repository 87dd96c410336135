"""Answers in parts over HTTP/2: many on one connection, slow and leaving clients, errors."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import pytest
from conftest import ServerFactory
from harness.http2 import Http2
from harness.processes import wait_until
from harness.server import Server
from harness.streams import is_stuck, parts, told

ARCHIVES = ["streamer", "counted"]
PATH = "/predictions/streamer"
EVENTS = {"accept": "text/event-stream"}
PART = 64 * 1024
CANCEL = 8


def test_each_part_is_a_frame_under_the_head_of_the_first(
    shared_server: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    spec = {"tag": "a", "n": 2, "type": "text/plain", "status": 201, "gate": str(gate)}
    with Http2(shared_server.port) as connection:
        stream = connection.ask(PATH, spec)
        frames = connection.parts(stream)
        # The handler sends nothing more before it sees the file.
        assert next(frames) == b"a:0;"
        received = connection.answers[stream]
        assert (received.status, received.headers["content-type"]) == (201, "text/plain")
        assert not {"content-length", "transfer-encoding", "connection"} & set(received.headers)
        gate.touch()
        assert list(frames) == [b"a:1;", b"end"]
        assert received.reset is None


def test_head_gets_the_head_only(shared_server: Server) -> None:
    with Http2(shared_server.port) as connection:
        answer = connection.answer(connection.ask(PATH, {"tag": "a"}, method="HEAD"))
        assert (answer.status, answer.body, answer.has_ended) == (200, b"", True)


def test_64_streams_on_one_connection_are_each_whole_and_in_order(
    start_server: ServerFactory,
) -> None:
    settings = {"minWorkers": 4, "batchSize": 16, "maxBatchDelay": 200}
    server = start_server({"name": "streamer", "settings": settings})
    lengths = [20 + index % 7 for index in range(64)]
    with Http2(server.port) as connection:
        streams = [
            connection.ask(PATH, {"tag": f"s{index}", "n": length})
            for index, length in enumerate(lengths)
        ]
        for index, (stream, length) in enumerate(zip(streams, lengths, strict=True)):
            answer = connection.answer(stream)
            assert answer.has_ended
            assert answer.parts == parts(f"s{index}", length)


def test_events_for_who_asks_and_errors_among_them(shared_server: Server) -> None:
    with Http2(shared_server.port) as connection:
        answer = connection.answer(connection.ask(PATH, {"tag": "a", "n": 2}, headers=EVENTS))
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.parts == [
            b"data: a:0;\n\n",
            b"data: a:1;\n\n",
            b"data: end\n\n",
            b"event: end\ndata: \n\n",
        ]
        spec = {"tag": "a", "n": 3, "fail_at": 1}
        answer = connection.answer(connection.ask(PATH, spec, headers=EVENTS))
        assert answer.has_ended
        error = json.loads(answer.parts[-1].removeprefix(b"event: error\ndata: "))
        assert error["code"] == 503


def test_a_stream_that_breaks_is_reset_and_its_connection_goes_on(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    server, gate = start_server("streamer", "counted"), tmp_path / "gate"
    (worker,) = server.worker_pids("streamer")
    with Http2(server.port) as connection:
        failed = connection.answer(connection.ask(PATH, {"n": 3, "fail_at": 1}))
        assert (failed.parts[0], failed.reset) == (b":0;", CANCEL)
        stream = connection.ask(PATH, {"n": 3, "gate": str(gate)})
        assert next(connection.parts(stream)) == b":0;"
        os.kill(worker, signal.SIGKILL)
        assert connection.answer(stream).reset == CANCEL
        assert connection.answer(connection.ask("/predictions/counted", b"x")).body == b"x"


def test_a_stream_that_is_not_read_holds_its_handler_up_and_no_other(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    server, report, count = start_server("streamer", "counted"), tmp_path / "report", 100
    with Http2(server.port) as connection:
        spec = {"tag": "s", "n": count, "size": PART, "report": str(report)}
        stream = connection.ask(PATH, spec)
        connection.held.add(stream)
        connection.until(lambda: connection.answers[stream].status is not None)
        while not is_stuck(report):
            # Others on the same connection are served meanwhile.
            quick = connection.answer(connection.ask("/predictions/counted", b"x"))
            assert quick.body == b"x"
        assert int(told(report).split()[1]) < count, "the handler was not held up"
        connection.release(stream)
        answer = connection.answer(stream)
    assert answer.has_ended
    assert len(answer.body) == count * PART + len("end")
    for number in range(count):
        assert answer.body[number * PART :][:8] == f"s:{number};".encode().ljust(8, b".")


def test_a_stream_that_is_never_read_is_given_up(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    server = start_server("streamer", "counted", config={"stream_stall_timeout": 1})
    pids, report = server.worker_pids("streamer"), tmp_path / "report"
    with Http2(server.port) as connection:
        stream = connection.ask(PATH, {"n": 1000, "size": PART, "report": str(report)})
        connection.held.add(stream)
        connection.until(lambda: connection.answers[stream].reset is not None)
        wait_until(lambda: "ClientGone" in told(report), 30, "the handler is stopped")
        assert connection.answer(connection.ask("/predictions/counted", b"x")).body == b"x"
        assert connection.answer(connection.ask(PATH, {"n": 0})).body == b"end"
    assert server.worker_pids("streamer") == pids


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_client_that_leaves_stops_its_handler(
    start_server: ServerFactory, tmp_path: Path, how: str
) -> None:
    server, report = start_server("streamer"), tmp_path / "report"
    pids = server.worker_pids("streamer")
    with Http2(server.port) as connection:
        stream = connection.ask(PATH, {"n": 100_000, "pause": 0.01, "report": str(report)})
        assert next(connection.parts(stream)) == b":0;"
        if how == "reset":
            connection.cancel(stream)
        else:
            connection.socket.close()
        wait_until(lambda: "ClientGoneError" in told(report), 20, "the handler is stopped")
    assert server.predict_json("streamer", {"n": 0}).body == b"end"
    assert server.worker_pids("streamer") == pids


def test_a_stopping_server_ends_its_streams_first(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    server, gate = start_server("streamer"), tmp_path / "gate"
    with Http2(server.port) as connection:
        stream = connection.ask(PATH, {"tag": "a", "n": 3, "gate": str(gate)})
        frames = connection.parts(stream)
        assert next(frames) == b"a:0;"
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        connection.until(lambda: connection.goaway == 0)
        gate.touch()
        assert list(frames) == [b"a:1;", b"a:2;", b"end"]
        connection.until_closed()
    assert server.process.wait(30) == 0


def test_httpx_reads_parts_as_they_come(shared_server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    address = f"http://127.0.0.1:{shared_server.port}{PATH}"
    spec = {"tag": "a", "n": 2, "gate": str(gate)}
    with (
        httpx.Client(http1=False, http2=True, trust_env=False) as client,
        client.stream("POST", address, json=spec) as answer,
    ):
        assert answer.http_version == "HTTP/2"
        pieces = answer.iter_raw()
        assert next(pieces) == b"a:0;"
        gate.touch()
        assert b"".join(pieces) == b"a:1;end"
