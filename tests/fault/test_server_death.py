"""Whatever ends the server: no process, no folder and no shared memory is left behind."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.client import open_socket
from harness.processes import kill, wait_until
from harness.server import Server


def segments() -> set[str]:
    """What lies in /dev/shm (memfds have no name there, which is the point)."""
    return set(os.listdir("/dev/shm"))


def leftovers(server: Server, end: signal.Signals = signal.SIGKILL) -> list[str]:
    """Files that the server has left in the folder for temporary files.

    A server that is ended by force cannot remove its pid file; the next start does.
    """
    allowed = {".model_server.pid"} if end in (signal.SIGKILL, signal.SIGQUIT) else set()
    found = {str(path.relative_to(server.temporary)) for path in server.temporary.rglob("*")}
    return sorted(found - allowed)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_nothing_is_left_behind(start_server, end: signal.Signals, busy: bool) -> None:
    before = segments()
    server: Server = start_server({"name": "sleeper", "settings": {"minWorkers": 2}}, "noop")
    assert server.process is not None
    assert len(server.worker_pids("sleeper")) == 2
    with open_socket(server.port) as connection:
        if busy:
            connection.sendall(
                b"POST /predictions/sleeper HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n3"
            )
            time.sleep(0.3)  # for the worker to begin; the outcome must be the same either way
        kill(server.process.pid, end)
        server.process.wait(timeout=20)
    wait_until(lambda: not server.processes(), 15, "workers and janitor are gone")
    assert leftovers(server, end) == []
    assert segments() <= before


def test_hung_workers_do_not_outlive_the_server(start_server) -> None:
    server: Server = start_server("trouble")
    body = b'{"kind": "hang in native code"}'
    assert server.process is not None
    with open_socket(server.port) as connection:
        connection.sendall(
            b"POST /predictions/trouble HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        time.sleep(0.5)
        kill(server.process.pid)
        server.process.wait(timeout=10)
    wait_until(lambda: not server.processes(), 15, "the hung worker is gone")
    assert leftovers(server) == []


def test_server_that_cannot_start_leaves_nothing(start_server, tmp_path: Path) -> None:
    running: Server = start_server("noop")
    second: Server = start_server(
        "noop", ready=False, config={"inference_address": f"http://127.0.0.1:{running.port}"}
    )
    assert second.process is not None
    assert second.process.wait(timeout=20) != 0
    wait_until(lambda: not second.processes(), 15, "nothing of the second server runs")
    assert leftovers(second) == []
    assert str(running.port) in second.log(), "the message names the address"
    assert running.predict("noop").status == 200


def test_orderly_stop_answers_what_runs(start_server) -> None:
    server: Server = start_server("sleeper")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(server.predict, "sleeper", b"1.5")
        wait_until(lambda: pending.running(), 5, "the request is on its way")
        time.sleep(0.5)
        server.terminate()
        answer = pending.result(timeout=10)
    assert answer.status in (200, 503), answer
