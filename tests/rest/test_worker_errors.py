"""What describe says about workers that fail: the exception, or how the process ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server

AT_ONCE = {"minWorkers": 1, "maxRetryTimeoutInSec": 1}


def failed_worker(server: Server, model: str, state: str | None = None) -> dict[str, Any]:
    """The model's only worker, once it has failed (and is in that state)."""
    found: list[dict[str, Any]] = []

    def has_failed() -> bool:
        try:
            found[:] = server.workers(model)
        except (OSError, LookupError):  # not listening yet, or not registered yet
            return False
        return "lastError" in found[0] and state in (None, found[0].get("state"))

    wait_until(has_failed, 30, f"a worker of {model} has failed")
    return found[0]


def test_an_exception_is_described_with_its_place(start_server: ServerFactory) -> None:
    server = start_server({"name": "refuses", "settings": AT_ONCE}, ready=False)
    worker = failed_worker(server, "refuses", "FAILED")
    assert worker["status"] == "UNLOADING"
    error = worker["lastError"]
    assert error["summary"] == "the handler cannot be loaded: ValueError: cannot load on purpose"
    assert (error["exception"], error["message"]) == ("ValueError", "cannot load on purpose")
    assert error["file"].endswith("/refuses.py")
    assert error["line"] == 6
    assert error["traceback"].startswith("Traceback (most recent call last)")
    assert "raise ValueError(" in error["traceback"]
    assert error["time"].endswith("Z")
    assert not {"exitStatus", "signal", "killedForMemory"} & set(error)


def test_an_import_error_is_described(start_server: ServerFactory) -> None:
    server = start_server({"name": "broken", "settings": AT_ONCE}, ready=False)
    error = failed_worker(server, "broken")["lastError"]
    assert (error["exception"], error["message"]) == ("RuntimeError", "broken on purpose")
    assert error["file"].endswith("/broken.py")


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"kind": "hard exit", "code": 3}, {"exitStatus": 3}),
        ({"kind": "signal", "name": "SIGSEGV"}, {"signal": "SIGSEGV"}),
        ({"kind": "signal", "name": "SIGKILL"}, {"signal": "SIGKILL"}),
        ({"kind": "hang"}, {}),
    ],
    ids=lambda value: str(value.get("name", value.get("kind"))) if "kind" in value else "",
)
def test_the_end_of_a_process_is_described(
    start_server: ServerFactory, wish: dict[str, Any], expected: dict[str, Any]
) -> None:
    server = start_server({"name": "trouble", "settings": {"minWorkers": 1, "responseTimeout": 1}})
    assert "lastError" not in server.workers("trouble")[0]
    server.predict_json("trouble", wish)
    error = failed_worker(server, "trouble")["lastError"]
    known = {name: error[name] for name in ("exitStatus", "signal") if name in error}
    assert known == expected
    assert "exception" not in error
    for value in expected.values():
        assert str(value) in error["summary"]
    if wish["kind"] == "hang":
        assert error["summary"] == "no response within 1 s"
    # The kernel did not do it, and where it tells, that is said.
    assert not error.get("killedForMemory", False)
    # Serving again, the worker still says why it failed last.
    server.wait_until_loaded("trouble")
    (worker,) = server.workers("trouble")
    assert worker["status"] == "READY"
    assert "state" not in worker
    assert worker["lastError"] == error


@pytest.mark.parametrize(
    ("how", "expected", "words"),
    [
        ("3", {"exitStatus": 3}, "ended with exit status 3 while it was loading"),
        ("SIGSEGV", {"signal": "SIGSEGV"}, "was killed by SIGSEGV while it was loading"),
        ("SIGKILL", {"signal": "SIGKILL"}, "was killed (SIGKILL)"),
        ("SIGTERM", {"signal": "SIGTERM"}, "was killed by SIGTERM while it was loading"),
    ],
)
def test_a_crash_loop_ends_in_failed_and_says_how(
    start_server: ServerFactory, how: str, expected: dict[str, Any], words: str
) -> None:
    settings = {"minWorkers": 2, "maxRetryTimeoutInSec": 1}
    server = start_server(
        {"name": "dies", "settings": settings}, ready=False, environment={"HOW_TO_DIE": how}
    )
    failed_worker(server, "dies", "FAILED")

    def all_failed() -> bool:
        return all(worker.get("state") == "FAILED" for worker in server.workers("dies"))

    wait_until(all_failed, 30, "both workers are given up")
    for worker in server.workers("dies"):
        error = worker["lastError"]
        assert isinstance(error, dict)
        known = {name: error[name] for name in ("exitStatus", "signal") if name in error}
        assert known == expected
        assert words in error["summary"]
        assert worker["pid"] == -1
    # Nobody will ever take a request: it is refused at once, and health says why.
    assert server.predict("dies").status == 503
    assert server.get("/ping").status == 500
    (entry,) = json.loads(server.get("/readyz").body)["notReady"]
    assert words in entry["lastError"]
