"""Workers as forks of a template: they share it, live without it, and leave nothing behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from harness.processes import command_line, is_alive, kill, wait_until
from harness.server import Server

pytest.importorskip("torch")


def forked(depth: str, workers: int = 2, **settings: object) -> dict[str, Any]:
    given = {"minWorkers": workers, "deviceType": "cpu", "workerTemplate": depth, **settings}
    return {"name": "forked", "settings": given}


def ask(server: Server, body: bytes = b"") -> dict[str, Any]:
    answer = server.predict("forked", body)
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def template(server: Server) -> int:
    """The only template of the server."""
    words = "-m tserve_worker.template"
    # A fork has the template's command line, but leads a group of its own; so does the template.
    found = {pid for pid in server.processes() if words in command_line(pid)}
    (pid,) = found - set(server.worker_pids("forked"))
    return pid


@pytest.mark.parametrize("depth", ["imports", "model"])
def test_workers_are_forks(start_server, depth: str) -> None:
    server: Server = start_server(forked(depth))
    pids = server.worker_pids("forked")
    born = template(server)
    seen = {}
    wait_until(
        lambda: seen.update({(one := ask(server))["pid"]: one}) or len(seen) == 2, 20, "both"
    )
    assert set(seen) == set(pids)
    for pid, one in seen.items():
        assert one["imported in"] == born
        assert one["loaded in"] == (born if depth == "model" else pid)
        assert (one["group"], one["threads"], one["model"]) == (pid, 1, 7.0)
    assert len({one["random"] for one in seen.values()}) == 2
    log = server.log_file("model_log.log")
    assert "W-9000-forked_1.0" in log
    assert "template is ready" in server.log()
    # The table of 32 MB is there once.
    shared = [int(line.split()[1]) for pid in pids for line in rollup(pid) if "Pss:" in line]
    assert sum(shared) < 2 * resident(pids[0]) * 0.8, (shared, resident(pids[0]))


def rollup(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()


def resident(pid: int) -> int:
    return next(int(line.split()[1]) for line in rollup(pid) if line.startswith("Rss:"))


def test_fork_that_dies_is_replaced_and_its_end_is_known(start_server) -> None:
    server: Server = start_server(forked("model", 1))
    (old,) = server.worker_pids("forked")
    assert server.predict("forked", b"die").status == 500
    wait_until(lambda: server.worker_pids("forked") not in ([], [old]), 20, "there is a new worker")
    server.wait_until_loaded("forked")
    assert "ended with exit status 3" in json.dumps(server.workers("forked")[0]["lastError"])
    (old,) = server.worker_pids("forked")
    assert ask(server, b"child")["pid"] == old
    kill(old, signal.SIGKILL)
    wait_until(lambda: server.worker_pids("forked") not in ([], [old]), 20, "there is a new worker")
    assert "SIGKILL" in json.dumps(server.workers("forked")[0]["lastError"])
    wait_until(
        lambda: not any("sleep" in command_line(pid) for pid in server.processes()),
        5,
        "what the handler has started is gone",
    )


def test_workers_outlive_their_template(start_server) -> None:
    server: Server = start_server(forked("imports", 1))
    born, (old,) = template(server), server.worker_pids("forked")
    kill(born, signal.SIGKILL)
    wait_until(lambda: not is_alive(born), 5, "the template is gone")
    assert ask(server)["pid"] == old
    kill(old, signal.SIGKILL)
    wait_until(lambda: server.worker_pids("forked") not in ([], [old]), 20, "there is a new worker")
    server.wait_until_loaded("forked")
    assert ask(server)["imported in"] == template(server) != born


def test_nothing_is_left_behind(start_server) -> None:
    server: Server = start_server(forked("imports"))
    assert server.manage("DELETE", "/models/forked").status == 200
    wait_until(lambda: len(server.processes()) <= 2, 5, "only server and janitor are left")


def test_killed_server_takes_all_of_it_along(start_server) -> None:
    server: Server = start_server(forked("model"))
    assert server.process is not None
    kill(server.process.pid)
    server.process.wait(timeout=10)
    wait_until(lambda: not server.processes(), 10, "workers and template are gone")


def test_what_cannot_be_forked_is_started_plainly(start_server) -> None:
    settings = {"minWorkers": 1, "deviceType": "cpu", "workerTemplate": "imports"}
    server: Server = start_server({"name": "threaded", "settings": settings})
    assert server.predict("threaded").body == b"ok"
    assert "the thread 'busybody' is running" in server.log()
    assert "starts without its template" in server.log()
