"""Health that is true: /livez, /readyz, /startupz, and /ping in its strict sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ServerFactory
from harness.client import request
from harness.processes import wait_until
from harness.server import Server

STARTED = "Model server started."

# A worker is started again soon after each of its failures, and given up after the first.
GIVEN_UP = {"settings": {"maxRetryTimeoutInSec": 1}}


def ask(server: Server, path: str) -> tuple[int, dict[str, Any]]:
    """The status and the document of a health route on the inference port."""
    answer = server.get(path)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, json.loads(answer.body)


def wait_for(server: Server, path: str, status: int) -> dict[str, Any]:
    """Polls a health route of a server that has started; returns its document at this status."""

    def has_status() -> bool:
        try:
            answer = server.get(path)
        except OSError:  # not listening yet
            return False
        return answer.status == status and b"are being registered" not in answer.body

    wait_until(has_status, 30, f"{path} answers {status}")
    return ask(server, path)[1]


def test_a_server_without_models_is_ready_on_every_port(start_server: ServerFactory) -> None:
    server = start_server()
    for port in (server.port, server.management_port, server.metrics_port):
        for path, status in (("livez", "alive"), ("readyz", "ready"), ("startupz", "started")):
            answer = request(port, "GET", f"/{path}")
            assert answer.status == 200, path
            assert json.loads(answer.body)["status"] == status
            assert path in request(port, "OPTIONS", "/").body.decode()
    assert ask(server, "/readyz?model=nobody")[0] == 404


def test_ready_only_when_the_workers_have_loaded(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start_server("gated", ready=False, environment={"GATE": str(gate)})
    document = wait_for(server, "/readyz", 503)
    assert document == {
        "status": "not ready",
        "notReady": [
            {
                "modelName": "gated",
                "modelVersion": "1.0",
                "minWorkers": 1,
                "loadedWorkers": 0,
                "reason": "0 of 1 workers have loaded",
            }
        ],
    }
    status, document = ask(server, "/startupz")
    assert (status, document["status"]) == (503, "starting")
    assert ask(server, "/readyz?model=gated")[0] == 503
    assert ask(server, "/livez")[0] == 200
    # As in the original, a worker that loads counts as healthy.
    assert ask(server, "/ping") == (200, {"status": "Healthy"})
    gate.touch()
    assert wait_for(server, "/readyz", 200) == {"status": "ready", "notReady": []}
    assert ask(server, "/readyz?model=gated")[0] == 200
    assert ask(server, "/startupz")[0] == 200


def test_a_handler_that_fails_is_named_with_its_error(start_server: ServerFactory) -> None:
    server = start_server("noop", {"name": "refuses", **GIVEN_UP}, ready=False)
    wait_for(server, "/readyz?model=noop", 200)

    def given_up() -> bool:
        return "given up" in server.get("/readyz").body.decode()

    wait_until(given_up, 30, "the worker is given up")
    status, document = ask(server, "/readyz")
    (model,) = document["notReady"]
    assert (status, model["modelName"]) == (503, "refuses")
    assert "ValueError: cannot load on purpose" in model["lastError"]
    assert model["reason"] == "0 of 1 workers have loaded, 1 kept failing and were given up"
    assert ask(server, "/startupz")[0] == 503


def test_an_archive_that_cannot_be_registered_keeps_the_server_unready(
    start_server: ServerFactory,
) -> None:
    server = start_server("noop", models=["noop.mar", "gone=missing.mar"], ready=False)
    wait_for(server, "/readyz?model=noop", 200)
    for path in ("/readyz", "/readyz?model=gone", "/startupz"):
        status, document = ask(server, path)
        (model,) = document["notReady"]
        assert (status, model["modelName"]) == (503, "gone"), path
        assert model["reason"].startswith("it is not registered: ")
        assert "missing.mar" in model["reason"]
    # Registered later under the same name, it is ready after all.
    added = server.manage("POST", "/models?url=noop.mar&model_name=gone&initial_workers=1")
    assert added.status == 200
    assert wait_for(server, "/readyz", 200)["notReady"] == []
    assert ask(server, "/startupz")[0] == 200


def test_readiness_follows_the_models(start_server: ServerFactory) -> None:
    server = start_server("noop")
    assert ask(server, "/startupz")[0] == 200
    # No worker is wanted: the server is ready, but the model cannot answer.
    server.manage("PUT", "/models/noop?min_worker=0&max_worker=0&synchronous=true")
    assert ask(server, "/readyz")[0] == 200
    assert ask(server, "/readyz?model=noop")[0] == 503
    assert server.manage("DELETE", "/models/noop").status == 200
    status, document = ask(server, "/readyz")
    assert status == 503
    assert document["notReady"] == [
        {"modelName": "noop", "reason": "it is not registered: it was unregistered"}
    ]
    # What has started has started.
    assert ask(server, "/startupz")[0] == 200


@pytest.mark.parametrize("semantics", ["compat", "strict"])
def test_ping_means_what_the_configuration_says(
    start_server: ServerFactory, tmp_path: Path, semantics: str
) -> None:
    gate = tmp_path / "gate"
    server = start_server(
        "gated",
        ready=False,
        config={"ping_semantics": semantics},
        environment={"GATE": str(gate)},
    )
    wait_for(server, "/readyz", 503)
    expected = (200, "Healthy") if semantics == "compat" else (500, "Unhealthy")
    status, document = ask(server, "/ping")
    assert (status, document["status"]) == expected
    gate.touch()
    wait_for(server, "/readyz", 200)
    assert ask(server, "/ping") == (200, {"status": "Healthy"})


def test_details_are_for_those_with_a_token(start_server: ServerFactory) -> None:
    server = start_server(
        models=["gone=missing.mar"],
        ready=False,
        flags=("--ncs",),
        environment={
            "TSERVE_INFERENCE_TOKEN": "for-inference",
            "TSERVE_MANAGEMENT_TOKEN": "for-management",
        },
    )
    assert wait_for(server, "/readyz", 503) == {"status": "not ready"}
    wait_until(lambda: STARTED in server.log(), 30, "the server has started")
    assert ask(server, "/startupz") == (503, {"status": "starting"})
    assert ask(server, "/readyz?model=gone") == (503, {"status": "not ready"})
    assert ask(server, "/livez") == (200, {"status": "alive"})
    for token, sees in (("for-inference", True), ("for-management", True), ("wrong", False)):
        answer = server.get("/readyz", {"Authorization": f"Bearer {token}"})
        assert answer.status == 503
        assert (b"missing.mar" in answer.body) == sees
