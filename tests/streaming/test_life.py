"""Streams beside each other, and streams whose worker or server ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.processes import wait_until
from harness.server import Server
from harness.streams import BrokenOff, Stream, parts

PATH = "/predictions/streamer"
EVENTS = {"Accept": "text/event-stream"}


def all_chunks(server: Server, spec: dict[str, object]) -> list[bytes]:
    with Stream(server.port, PATH, spec) as stream:
        assert stream.head()[0] == 200
        return list(stream.chunks())


def test_64_streams_at_once_are_each_whole_and_in_order(start_server) -> None:
    settings = {"minWorkers": 4, "batchSize": 16, "maxBatchDelay": 200}
    server = start_server({"name": "streamer", "settings": settings})
    # Of different lengths, so that batches become smaller while they run.
    lengths = [20 + index % 7 for index in range(64)]
    with ThreadPoolExecutor(64) as pool:
        specs = [{"tag": f"s{i}", "n": length} for i, length in enumerate(lengths)]
        answers = list(pool.map(lambda spec: all_chunks(server, spec), specs))
    for index, (length, chunks) in enumerate(zip(lengths, answers, strict=True)):
        assert chunks == parts(f"s{index}", length)


def test_streams_and_ordinary_answers_share_a_batch(start_server) -> None:
    settings = {"batchSize": 4, "maxBatchDelay": 5000}
    server = start_server({"name": "streamer", "settings": settings})
    with ThreadPoolExecutor(4) as pool:
        plain = [pool.submit(server.predict_json, "streamer", {"n": 0}) for _ in range(2)]
        streams = [pool.submit(all_chunks, server, {"tag": tag, "n": 9}) for tag in "ab"]
        for tag, stream in zip("ab", streams, strict=True):
            assert stream.result() == parts(tag, 9)
        for answer in plain:
            assert (answer.result().body, "content-length" in answer.result().headers) == (
                b"end",
                True,
            )


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["chunks", "events"])
def test_a_worker_that_is_killed_breaks_its_streams_and_nothing_else(
    start_server, tmp_path: Path, headers: dict[str, str]
) -> None:
    server, gate = start_server("streamer", "counted"), tmp_path / "gate"
    (before,) = server.worker_pids("streamer")
    spec = {"tag": "a", "n": 3, "gate": str(gate)}
    with Stream(server.port, PATH, spec, headers=headers) as stream:
        stream.head()
        assert stream.chunk()
        os.kill(before, signal.SIGKILL)
        if headers:
            last = list(stream.chunks())[-1].decode()
            assert last.startswith("event: error\ndata: ")
            error = json.loads(last.removeprefix("event: error\ndata: "))
            assert (error["code"], error["message"]) == (507, "Worker died.")
        else:
            with pytest.raises(BrokenOff):
                stream.chunk()
    assert server.predict("counted", b"neighbour").body == b"neighbour"
    assert server.predict_json("streamer", {"tag": "b", "n": 1}).body == b"b:0;end"


def test_the_response_timeout_is_for_each_part(start_server) -> None:
    settings = {"minWorkers": 1, "responseTimeout": 2}
    server = start_server({"name": "streamer", "settings": settings})
    assert all_chunks(server, {"tag": "a", "n": 4, "pause": 0.9}) == parts("a", 4)
    with Stream(server.port, PATH, {"n": 2, "pause": 30}) as stream:
        stream.head()
        assert stream.chunk()
        with pytest.raises(BrokenOff):
            stream.chunk()


def test_a_client_that_does_not_read_is_no_hanging_worker(start_server, tmp_path: Path) -> None:
    settings = {"minWorkers": 1, "responseTimeout": 1}
    server = start_server({"name": "streamer", "settings": settings})
    pids, report = server.worker_pids("streamer"), tmp_path / "report"
    spec = {"tag": "a", "n": 200, "size": 64 * 1024, "report": str(report)}
    waited = threading.Event()
    with Stream(server.port, PATH, spec, receive_buffer=8192) as stream:
        stream.head()
        # Longer than the time limit, which is for the worker and not for the client.
        waited.wait(3)
        assert len(list(stream.chunks())) == 201
    assert server.worker_pids("streamer") == pids


def test_the_clients_time_limit_goes_on_through_a_stream(start_server) -> None:
    settings = {"minWorkers": 1, "clientTimeoutInMills": 500}
    server = start_server({"name": "streamer", "settings": settings})
    with Stream(server.port, PATH, {"n": 1000, "pause": 0.05}, headers=EVENTS) as stream:
        stream.head()
        last = list(stream.chunks())[-1].decode()
    error = json.loads(last.removeprefix("event: error\ndata: "))
    assert (error["code"], "clientTimeoutInMills" in error["message"]) == (504, True)


@pytest.mark.parametrize("how", ["server", "model"])
def test_a_stream_that_runs_may_end_when_its_server_or_model_is_stopped(
    start_server, tmp_path: Path, how: str
) -> None:
    server, gate = start_server("streamer"), tmp_path / "gate"
    with Stream(server.port, PATH, {"tag": "a", "n": 3, "gate": str(gate)}) as stream:
        stream.head()
        assert stream.chunk() == b"a:0;"
        with ThreadPoolExecutor(1) as pool:
            if how == "server":
                stopping = pool.submit(server.terminate)
                wait_until(lambda: not is_listening(server), 10, "it takes no more connections")
            else:
                stopping = pool.submit(server.manage, "DELETE", "/models/streamer")
                wait_until(lambda: not server.model_names(), 10, "the model is unregistered")
            gate.touch()
            assert list(stream.chunks()) == [b"a:1;", b"a:2;", b"end"]
            stopping.result(30)


def is_listening(server: Server) -> bool:
    try:
        return server.get("/ping").status == 200
    except OSError:
        return False
