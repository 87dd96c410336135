"""Workers that die, hang or misbehave: every request is answered and nobody else is affected."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.client import Answer
from harness.processes import kill, wait_until
from harness.server import Server

TROUBLE = {"name": "trouble", "settings": {"minWorkers": 1, "responseTimeout": 2}}


@pytest.fixture
def server(start_server) -> Server:
    return start_server(TROUBLE, "counted")


def assert_worker_died(answer: Answer, *statuses: int) -> None:
    assert answer.status in (statuses or (500,)), answer
    assert answer.json() == {
        "code": answer.status,
        "type": "InternalServerException",
        "message": "Worker died.",
    }


def assert_all_is_well(server: Server, before: list[int]) -> None:
    """The model serves again with a new worker, and its neighbour never noticed."""
    assert server.predict("counted", b"neighbour").body == b"neighbour"
    answer = server.predict_json("trouble", {"kind": "none"})
    assert (answer.status, answer.body) == (200, b"still here"), answer
    server.wait_until_loaded("trouble")
    assert server.worker_pids("trouble") != before
    assert server.get("/ping").status == 200


@pytest.mark.parametrize(
    ("wish", "statuses"),
    [
        ({"kind": "exit"}, [500]),
        ({"kind": "exit", "code": 3}, [500]),
        ({"kind": "hard exit", "code": 0}, [500]),
        ({"kind": "signal", "name": "SIGSEGV"}, [500]),
        ({"kind": "signal", "name": "SIGTERM"}, [500]),
        # As the kernel does when memory is short.
        ({"kind": "signal", "name": "SIGKILL"}, [500, 507]),
        ({"kind": "close descriptors"}, [200, 500]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_death_answers_the_request_and_brings_a_new_worker(
    server: Server, wish: dict[str, object], statuses: list[int]
) -> None:
    before = server.worker_pids("trouble")
    begun = time.monotonic()
    answer = server.predict_json("trouble", wish)
    assert answer.status in statuses, answer
    if answer.status != 200:
        assert_worker_died(answer, *statuses)
        assert time.monotonic() - begun < 5, "death is noticed by time-out only"
        assert_all_is_well(server, before)


@pytest.mark.parametrize("kind", ["hang", "hang in native code"])
def test_hanging_handler_is_killed_at_the_response_timeout(server: Server, kind: str) -> None:
    before = server.worker_pids("trouble")
    begun = time.monotonic()
    assert_worker_died(server.predict_json("trouble", {"kind": kind}))
    assert 1.9 < time.monotonic() - begun < 8
    assert_all_is_well(server, before)
    wait_until(lambda: not set(before) & set(server.processes()), 10, "the hung worker is gone")


def test_idle_worker_that_is_killed_is_replaced(server: Server) -> None:
    (before,) = server.worker_pids("trouble")
    kill(before)
    wait_until(lambda: before not in server.worker_pids("trouble"), 10, "the death is noticed")
    server.wait_until_loaded("trouble")
    assert_all_is_well(server, [before])


def test_queued_requests_survive_the_death_of_their_worker(start_server) -> None:
    server = start_server(TROUBLE)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(server.predict_json, "trouble", {"kind": "hard exit", "delay": 0.5})
        time.sleep(0.2)
        others = [pool.submit(server.predict_json, "trouble", {"kind": "none"}) for _ in range(6)]
        assert_worker_died(first.result())
        assert [other.result().status for other in others] == [200] * 6


def test_children_of_a_dead_worker_die_with_it(server: Server) -> None:
    assert server.predict_json("trouble", {"kind": "fork"}).status == 200
    (worker,) = server.worker_pids("trouble")
    with_child = set(server.processes())
    assert_worker_died(server.predict_json("trouble", {"kind": "hard exit"}))
    server.wait_until_loaded("trouble")
    wait_until(
        lambda: len(server.processes()) < len(with_child) and worker not in server.processes(),
        10,
        "the worker's child is gone too",
    )


@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "print", "megabytes": 256},
        {"kind": "print without newline", "megabytes": 64},
        {"kind": "binary output"},
        {"kind": "close output"},
    ],
    ids=lambda wish: str(wish["kind"]),
)
def test_output_never_stops_or_hurts_a_worker(start_server, wish: dict[str, object]) -> None:
    server = start_server({"name": "trouble", "settings": {"responseTimeout": 60}}, "counted")
    (before,) = server.worker_pids("trouble")
    assert server.predict_json("trouble", wish, timeout=60).status == 200
    assert server.predict_json("trouble", {"kind": "none"}).body == b"still here"
    assert server.worker_pids("trouble") == [before]
    assert server.predict("counted", b"neighbour").body == b"neighbour"


@pytest.mark.slow
def test_gigabytes_of_output(start_server) -> None:
    server = start_server({"name": "trouble", "settings": {"responseTimeout": 120}}, "counted")
    assert server.predict_json("trouble", {"kind": "print", "megabytes": 2048}, 120).status == 200
    assert server.predict("counted", b"neighbour").body == b"neighbour"
    logs = server.working / "logs"
    assert sum(file.stat().st_size for file in logs.iterdir()) < 2 << 30, "logs are rotated"


def test_crash_loop_backs_off_and_is_reported(start_server) -> None:
    server = start_server("counted", "refuses", ready=False)
    wait_until(lambda: "cannot load on purpose" in server.log_file("model_log.log"), 30, "it fails")
    server.wait_until_loaded("counted")
    assert server.predict("counted", b"still").body == b"still"
    time.sleep(3)  # the time over which starts are counted
    attempts = server.log_file("model_log.log").count("cannot load on purpose")
    assert 1 <= attempts <= 8, f"{attempts} attempts within seconds: no back-off"
    assert all(worker["status"] != "READY" for worker in server.workers("refuses"))


def test_handler_that_cannot_be_imported_says_why(start_server) -> None:
    server = start_server("counted", "broken", ready=False)
    wait_until(lambda: "broken on purpose" in server.log_file("model_log.log"), 30, "it is logged")
    assert "Traceback" in server.log_file("model_log.log")
    server.wait_until_loaded("counted")
    assert server.predict("counted", b"still").body == b"still"


def test_load_timeout_kills_the_worker(start_server) -> None:
    slow = {"name": "slow_start", "settings": {"startupTimeout": 2, "minWorkers": 1}}
    server = start_server("counted", slow, ready=False)
    server.wait_until_loaded("counted")
    (first,) = [int(str(w["pid"])) for w in server.workers("slow_start")] or [0]
    wait_until(lambda: first not in server.processes(), 20, "the first attempt was ended")
    assert server.predict("counted", b"still").body == b"still"
