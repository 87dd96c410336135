"""Clients that read slowly, not at all, or leave: handlers wait or stop, others go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.processes import wait_until
from harness.server import Server
from harness.streams import Stream, is_stuck, parts, told

PATH = "/predictions/streamer"
PART = 64 * 1024


def resident_bytes(pid: int) -> int:
    """Memory of a process that is its own."""
    pages = Path("/proc", str(pid), "statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def server(start_server) -> Server:
    return start_server("streamer", "counted", config={"stream_stall_timeout": 2})


def test_a_slow_reader_holds_its_handler_up_and_loses_nothing(start_server, tmp_path: Path) -> None:
    server, report = start_server("streamer", "counted"), tmp_path / "report"
    assert server.process is not None
    before = resident_bytes(server.process.pid)
    count = 400
    spec = {"tag": "s", "n": count, "size": PART, "report": str(report)}
    with Stream(server.port, PATH, spec, receive_buffer=8192) as stream:
        stream.head()
        wait_until(lambda: is_stuck(report), 20, "the handler waits for its client")
        sent = int(told(report).split()[1])
        assert sent < count, "the handler was not held up"
        # What lies in between is bounded: window, frames in shared memory, socket.
        assert resident_bytes(server.process.pid) - before < 8 << 20
        for number in range(3):
            assert server.predict("counted", b"neighbour").body == b"neighbour", number
        chunks = list(stream.chunks())
    assert [len(chunk) for chunk in chunks] == [*([PART] * count), 3]
    assert [chunk[:8] for chunk in chunks[:-1]] == [
        f"s:{number};".encode().ljust(8, b".") for number in range(count)
    ]


def test_a_client_that_never_reads_is_given_up(server: Server, tmp_path: Path) -> None:
    pids, report = server.worker_pids("streamer"), tmp_path / "report"
    spec = {"n": 1000, "size": PART, "report": str(report)}
    with Stream(server.port, PATH, spec, receive_buffer=8192):
        wait_until(lambda: "ClientGone" in told(report), 30, "the handler is stopped")
        assert server.predict_json("streamer", {"n": 0}).body == b"end"
    assert server.worker_pids("streamer") == pids


def test_a_quick_client_is_not_held_up_for_ever_by_a_slow_one(start_server, tmp_path: Path) -> None:
    batch = {"batchSize": 2, "maxBatchDelay": 5000}
    server = start_server(
        {"name": "streamer", "settings": batch}, config={"stream_stall_timeout": 1}
    )
    spec = {"n": 200, "size": PART}
    with (
        Stream(server.port, PATH, {"tag": "slow", **spec}, receive_buffer=8192),
        Stream(server.port, PATH, {"tag": "quick", **spec}) as quick,
    ):
        quick.head()
        chunks = list(quick.chunks())
    assert len(chunks) == 201
    assert chunks[199].startswith(b"quick:199;")


def test_a_client_that_leaves_stops_its_handler(server: Server, tmp_path: Path) -> None:
    pids, report = server.worker_pids("streamer"), tmp_path / "report"
    spec = {"n": 100_000, "pause": 0.01, "report": str(report)}
    with Stream(server.port, PATH, spec) as stream:
        stream.head()
        assert stream.chunk()
    wait_until(lambda: "ClientGoneError" in told(report), 20, "the handler is stopped")
    assert server.predict_json("streamer", {"n": 0}).body == b"end"
    assert server.worker_pids("streamer") == pids
    # What a worker prints reaches the file a moment later.
    wait_until(lambda: "stream stopped" in server.log_file("model_log.log"), 20, "the log says so")


def test_a_handler_may_go_on_without_its_client(server: Server, tmp_path: Path) -> None:
    report = tmp_path / "report"
    spec = {"n": 50, "pause": 0.01, "report": str(report), "stubborn": True, "tell_end": True}
    with Stream(server.port, PATH, spec) as stream:
        stream.head()
    wait_until(lambda: told(report) == "over after 50", 20, "the handler goes on to its end")
    assert server.predict_json("streamer", {"tag": "n", "n": 1}).body == b"n:0;end"


def test_the_others_of_a_batch_go_on_when_one_client_leaves(start_server, tmp_path: Path) -> None:
    batch = {"batchSize": 2, "maxBatchDelay": 5000}
    server, gate = start_server({"name": "streamer", "settings": batch}), tmp_path / "gate"
    spec = {"n": 50, "gate": str(gate)}
    with Stream(server.port, PATH, {"tag": "stays", **spec}) as stays:
        with Stream(server.port, PATH, {"tag": "leaves", **spec}) as leaves:
            leaves.head()
        gate.touch()
        stays.head()
        assert list(stays.chunks()) == parts("stays", 50)


def test_streams_that_are_abandoned_by_the_hundred_leave_nothing(server: Server) -> None:
    assert server.process is not None
    server_pid, pids = server.process.pid, server.worker_pids("streamer")

    def abandon(count: int) -> None:
        for number in range(count):
            with Stream(server.port, PATH, {"n": 100_000, "size": 4096}) as stream:
                if number % 2:
                    stream.head()

    abandon(50)
    wait_until(lambda: server.predict_json("streamer", {"n": 0}).status == 200, 30, "it serves")
    before = resident_bytes(server_pid)
    files = len(os.listdir(f"/proc/{server_pid}/fd"))
    abandon(300)
    wait_until(lambda: server.predict_json("streamer", {"n": 0}).status == 200, 60, "it serves")
    assert server.worker_pids("streamer") == pids
    wait_until(
        lambda: len(os.listdir(f"/proc/{server_pid}/fd")) <= files + 5, 20, "connections are closed"
    )
    assert resident_bytes(server_pid) - before < 16 << 20
