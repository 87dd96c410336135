"""Workers that write garbage into shared memory: it is hostile input, never a crash."""

from __future__ import annotations

import json

import pytest
from harness.processes import wait_until
from harness.server import Server

TROUBLE = {"name": "trouble", "settings": {"minWorkers": 1, "responseTimeout": 3}}


@pytest.mark.parametrize("pattern", [0x00, 0x01, 0x7F, 0xFF])
def test_garbage_in_the_link_costs_only_that_worker(start_server, pattern: int) -> None:
    server: Server = start_server(TROUBLE, "counted")
    (before,) = server.worker_pids("trouble")
    answer = server.predict_json("trouble", {"kind": "scribble", "pattern": pattern}, timeout=20)
    # The garbage may happen to be harmless; if it is not, the request fails as for a dead worker.
    if answer.status != 200:
        assert (answer.status, answer.message()) == (500, "Worker died.")
    assert server.is_running()
    assert server.predict("counted", b"neighbour").body == b"neighbour"
    wait_until(
        lambda: server.predict_json("trouble", {"kind": "none"}, timeout=20).status == 200,
        30,
        "the model serves again",
    )
    if answer.status != 200:
        assert before not in server.worker_pids("trouble")


def test_workers_cannot_write_where_requests_lie(start_server) -> None:
    server: Server = start_server(TROUBLE)
    writable = json.loads(server.predict_json("trouble", {"kind": "mappings"}).body)
    assert writable.count(False) >= 1, "the request arena is mapped, and read-only"
    assert writable.count(True) == 1, "the worker's own link is the only thing it can write"
