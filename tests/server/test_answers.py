"""Every admitted request is answered: late, large, cancelled or overtaken by its model's end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from harness.processes import wait_until
from harness.server import Server

QUARTER_GIB = 256 << 20


def is_busy(server: Server) -> bool:
    """Whether a worker has begun with the request that sleeps for a second."""
    return "sleeping 1.0" in server.log_file("model_log.log")


def is_unhealthy(server: Server) -> bool:
    """Whether the server answers already, and says that it cannot serve."""
    try:
        return server.get("/ping").status == 500
    except ConnectionError:
        return False


def waiting(server: Server, model: str) -> int:
    """Requests in the model's queue."""
    status = server.describe(model)["jobQueueStatus"]
    assert isinstance(status, dict)
    return int(status["pendingRequests"])


def test_client_timeout_is_answered(start_server) -> None:
    settings = {"minWorkers": 1, "clientTimeoutInMills": 500}
    server = start_server({"name": "sleeper", "settings": settings})
    begun = time.monotonic()
    answer = server.predict("sleeper", b"2")
    assert 0.4 < time.monotonic() - begun < 1.9
    assert answer.status == 504
    assert "clientTimeoutInMills 500" in answer.message()
    # The worker is not harmed: it finishes and serves on.
    wait_until(lambda: server.predict("sleeper", b"0").status == 200, 10, "served again")


def test_request_that_expired_in_the_queue_is_never_run(start_server) -> None:
    settings = {"minWorkers": 1, "clientTimeoutInMills": 400}
    server = start_server({"name": "sleeper", "settings": settings})
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.predict, "sleeper", b"1")
        wait_until(lambda: is_busy(server), 5, "the worker is busy")
        second = clients.submit(server.predict, "sleeper", b"30")
        assert {first.result().status, second.result().status} == {504}
    wait_until(lambda: server.predict("sleeper", b"0").status == 200, 10, "served again")
    assert "sleeping 30.0" not in server.log_file("model_log.log")


def test_unregistering_answers_what_runs_and_waits(start_server) -> None:
    server = start_server("sleeper")
    with ThreadPoolExecutor(3) as clients:
        running = clients.submit(server.predict, "sleeper", b"1")
        wait_until(lambda: is_busy(server), 5, "the worker is busy")
        queued = clients.submit(server.predict, "sleeper", b"0.1")
        wait_until(lambda: waiting(server, "sleeper") == 1, 5, "a request waits")
        assert server.manage("DELETE", "/models/sleeper").status == 200
        assert [running.result().status, queued.result().status] == [200, 200]
    assert server.predict("sleeper").status == 404


def test_scaling_to_zero_answers_what_runs_and_waits(start_server) -> None:
    server = start_server("sleeper")
    with ThreadPoolExecutor(3) as clients:
        running = clients.submit(server.predict, "sleeper", b"1")
        wait_until(lambda: is_busy(server), 5, "the worker is busy")
        queued = clients.submit(server.predict, "sleeper", b"0")
        wait_until(lambda: waiting(server, "sleeper") == 1, 5, "a request waits")
        scaled = server.manage("PUT", "/models/sleeper?min_worker=0&max_worker=0&synchronous=true")
        assert scaled.status == 200
        assert running.result().status == 200
        # It may have been on the worker's link already; it is answered in any case.
        assert queued.result().status in (200, 503)
    assert server.predict("sleeper").status == 503


def test_model_whose_workers_were_given_up_answers_instead_of_hanging(start_server) -> None:
    settings = {"minWorkers": 1, "maxRetryTimeoutInSec": 1}
    server = start_server({"name": "refuses", "settings": settings}, ready=False)
    wait_until(lambda: is_unhealthy(server), 30, "given up")
    begun = time.monotonic()
    assert server.predict("refuses", b"").status == 503
    assert time.monotonic() - begun < 5


def test_quarter_gibibyte_there_and_back(start_server) -> None:
    limit = QUARTER_GIB + 1024
    server = start_server("counted", config={"max_request_size": limit, "max_response_size": limit})
    body = bytes(range(256)) * (QUARTER_GIB // 256)
    answer = server.predict("counted", body, timeout=120)
    assert (answer.status, len(answer.body)) == (200, QUARTER_GIB)
    assert answer.body == body


def test_reply_beyond_the_limit_is_refused_with_the_reason(start_server) -> None:
    server = start_server("counted", config={"max_response_size": 1000})
    (before,) = server.worker_pids("counted")
    assert server.predict("counted", b"x" * 1000).status == 200
    answer = server.predict("counted", b"x" * 1001)
    assert (answer.status, answer.message()) == (
        500,
        "The response of 1001 bytes exceeds max_response_size 1000.",
    )
    assert server.worker_pids("counted") == [before], "nothing is wrong with the worker"
