"""Calls that cannot succeed: the right status, a clear text, and the state that was before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ServerFactory
from harness.archives import build_archive
from harness.client import Answer, request
from harness.processes import wait_until
from harness.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bad-input")
    for version in ("1.0", "2.0"):
        build_archive(
            folder / "store",
            "pair",
            handler="version.py",
            version=version,
            file_name=f"pair-{version}",
        )
    build_archive(folder / "store", "spare", handler="noop.py")
    build_archive(folder / "store", "refuses")
    (folder / "store" / "garbage.mar").write_bytes(b"PK\x03\x04 and then nothing of the kind")
    (folder / "store" / "empty.mar").write_bytes(b"")
    server = Server(folder, models=["pair-1.0.mar"])
    server.start()
    assert server.manage("POST", "/models?url=pair-2.0.mar&initial_workers=0").status == 200
    yield server
    server.stop()


def state(server: Server) -> dict[str, Any]:
    """All that a failed call must leave alone."""
    listed = json.loads(server.manage("GET", "/models").body)
    return {
        "models": {
            model["modelName"]: json.loads(
                server.manage("GET", f"/models/{model['modelName']}/all").body
            )
            for model in listed["models"]
        },
        "default": server.describe("pair")["modelVersion"],
        "folders": sorted(path.name for path in server.temporary.glob("tserve-*/models/*")),
        "processes": sorted(server.processes()),
        "store": sorted(path.name for path in server.store.iterdir()),
    }


def without_memory(found: dict[str, Any]) -> dict[str, Any]:
    for versions in found["models"].values():
        for version in versions:
            for worker in version["workers"]:
                worker.pop("memoryUsage")
    return found


def post(server: Server, fields: object) -> Answer:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    headers = {"Content-Type": "application/json"}
    return request(server.management_port, "POST", "/models", body, headers, timeout=60)


SPARE = "/models?url=spare.mar"
QUERIES = [
    ("POST", "/models", 400, "Parameter url is required."),
    ("POST", "/models?url=", 404, "empty url"),
    ("POST", "/models?url=none.mar", 404, "Model not found at: none.mar"),
    ("POST", "/models?url=../spare.mar", 404, "Relative path is not allowed in url: ../spare.mar"),
    ("POST", "/models?url=empty.mar", 400, "Model name is not defined."),
    ("POST", "/models?url=garbage.mar", 500, "Failed to save model: garbage.mar"),
    ("POST", f"{SPARE}&runtime=cobol", 400, "Invalid RuntimeType value: cobol"),
    ("POST", f"{SPARE}&initial_workers=1025", 400, "initial_workers must be between 0 and 1024"),
    ("POST", f"{SPARE}&url=x&initial_workers=2147483647", 400, "not 2147483647"),
    ("POST", "/models?url=%zz", 403, "invalid hex byte 'zz'"),
    ("POST", "/models?url=pair-1.0.mar", 409, "Model version 1.0 is already registered"),
    ("POST", "/models?url=pair-2.0.mar", 409, "Model version 2.0 is already registered"),
    (
        "POST",
        "/models?url=refuses.mar&initial_workers=2",
        500,
        "Failed to start workers for model refuses version: 1.0",
    ),
    (
        "POST",
        "/models?url=refuses.mar&model_name=pair&initial_workers=1&handler=nobody:there",
        409,
        "Model version 1.0 is already registered for model pair",
    ),
    ("PUT", "/models/pair?min_worker=-1", 400, "min_worker must be between 0 and 1024, not -1."),
    ("PUT", "/models/pair?max_worker=1025", 400, "max_worker must be between 0 and 1024"),
    ("PUT", "/models/pair?min_worker=2&max_worker=1", 400, "max_worker cannot be less than"),
    ("PUT", "/models/pair?max_worker=0", 400, "max_worker cannot be less than min_worker."),
    ("PUT", "/models/nobody?min_worker=1", 404, "Model not found: nobody"),
    ("PUT", "/models/pair/3.0", 404, "Model version: 3.0 does not exist for model: pair"),
    ("PUT", "/models/pair/all", 404, "Model version: all does not exist for model: pair"),
    ("PUT", "/models/nobody/1.0/set-default", 404, "Model not found: nobody"),
    ("PUT", "/models/pair/3.0/set-default", 404, "Model version 3.0 does not exist for model pair"),
    ("DELETE", "/models/nobody", 404, "Model not found: nobody"),
    ("DELETE", "/models/pair/3.0", 404, "Model version: 3.0 does not exist for model: pair"),
    ("DELETE", "/models/pair", 403, "Cannot remove default version for model pair"),
    ("DELETE", "/models/pair/1.0", 403, "Cannot remove default version for model pair"),
    ("GET", "/models/nobody/all", 404, "Model not found: nobody"),
    ("GET", "/models/pair/2.0?customized=true", 503, "has no worker to serve describe request"),
    ("PATCH", "/models/pair", 405, "Requested method is not allowed"),
    ("POST", "/models/pair/1.0/else", 404, "Requested resource is not found"),
]


@pytest.mark.parametrize(("method", "path", "status", "text"), QUERIES)
def test_a_call_that_cannot_succeed(
    server: Server, method: str, path: str, status: int, text: str
) -> None:
    before = without_memory(state(server))
    answer = server.manage(method, path)
    assert (answer.status, text in answer.message()) == (status, True), answer
    assert without_memory(state(server)) == before


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        (b"", 500, "The request body is not a JSON object"),
        (b"[]", 500, "The request body is not a JSON object"),
        (b'{"url": "spare.mar"', 500, "The request body is not a JSON object"),
        ({}, 400, "Parameter url is required."),
        ({"url": ["spare.mar"]}, 500, '"url" of the request body is not a string.'),
        ({"url": "spare.mar", "batch_size": "two"}, 500, '"batch_size"'),
        ({"url": "spare.mar", "batch_size": 1.5}, 500, '"batch_size"'),
        ({"url": "spare.mar", "initial_workers": {}}, 500, '"initial_workers"'),
        ({"url": "spare.mar", "initial_workers": 4096}, 400, "initial_workers must be between"),
        ({"url": "spare.mar", "initial_workers": 1 << 40}, 500, '"initial_workers"'),
        ({"url": "spare.mar", "synchronous": 1}, 500, '"synchronous"'),
        ({"url": "spare.mar", "runtime": "cobol"}, 400, "Invalid RuntimeType value: cobol"),
    ],
    ids=str,
)
def test_a_body_of_the_wrong_shape(server: Server, fields: object, status: int, text: str) -> None:
    before = without_memory(state(server))
    answer = post(server, fields)
    assert (answer.status, text in answer.message()) == (status, True), answer
    assert without_memory(state(server)) == before


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("batch_size=0", {"batchSize": 0}),
        ("batch_size=-7", {"batchSize": -7}),
        ("batch_size=2147483647", {"batchSize": 2147483647}),
        ("response_timeout=0&startup_timeout=-3", {"responseTimeout": 120, "startupTimeout": 120}),
        ("initial_workers=-1", {"minWorkers": 1}),
        ("initial_workers=-5", {"minWorkers": 0}),
    ],
)
def test_odd_numbers_that_are_taken_still_serve(
    server: Server, query: str, shown: dict[str, int]
) -> None:
    assert server.manage("POST", f"{SPARE}&{query}").status == 200
    described = server.describe("spare")
    assert {name: described[name] for name in shown} == shown
    assert server.manage("PUT", "/models/spare?min_worker=1&synchronous=true").status == 200
    assert server.predict("spare", b"x").status == 200
    assert server.manage("DELETE", "/models/spare").status == 200


def test_of_registrations_at_once_one_wins(server: Server) -> None:
    before = without_memory(state(server))
    with ThreadPoolExecutor(8) as clients:
        path = f"{SPARE}&initial_workers=1"
        answers = list(clients.map(lambda _: server.manage("POST", path), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert server.predict("spare", b"x").status == 200
    assert len(server.workers("spare")) == 1
    assert server.manage("DELETE", "/models/spare").status == 200
    wait_until(lambda: without_memory(state(server)) == before, 10, "the state is as before")


def test_of_scalings_at_once_the_last_one_counts(server: Server) -> None:
    assert server.manage("POST", SPARE).status == 200
    with ThreadPoolExecutor(6) as clients:
        counts = [2, 0, 1, 2, 0, 1]
        paths = [f"/models/spare?min_worker={n}&max_worker={n}&synchronous=true" for n in counts]
        answers = list(clients.map(lambda path: server.manage("PUT", path), paths))
    assert {answer.status for answer in answers} <= {200, 206}
    assert server.manage("PUT", "/models/spare?min_worker=1&synchronous=true").status == 200
    (worker,) = server.workers("spare")
    assert worker["status"] == "READY"
    assert server.predict("spare", b"x").status == 200
    assert server.manage("DELETE", "/models/spare").status == 200


@pytest.mark.parametrize("synchronous", [True, False])
def test_unregistering_while_its_workers_load(
    start_server: ServerFactory, tmp_path: Path, synchronous: bool
) -> None:
    gate = tmp_path / "gate"
    server = start_server("gated", models=[], environment={"GATE": str(gate)})
    query = f"url=gated.mar&initial_workers=1&synchronous={synchronous}"
    with ThreadPoolExecutor(2) as clients:
        registering = clients.submit(server.manage, "POST", f"/models?{query}")
        wait_until(lambda: "gated" in server.model_names(), 10, "it is registered")
        asking = clients.submit(server.predict, "gated", b"x")
        wait_until(lambda: waiting(server) == 1, 10, "a request waits")
        assert server.manage("DELETE", "/models/gated").status == 200
        answer = registering.result(timeout=10)
        assert answer.status == (409 if synchronous else 202)
        if synchronous:
            assert "was unregistered while its workers were loading" in answer.message()
        assert asking.result(timeout=10).status == 503
    assert server.model_names() == []
    assert list(server.temporary.glob("tserve-*/models/*")) == []
    wait_until(lambda: len(server.processes()) == 2, 10, "its worker is gone")
    gate.touch()
    assert server.manage("POST", f"/models?{query}").status == (200 if synchronous else 202)


def waiting(server: Server) -> int:
    status = server.describe("gated")["jobQueueStatus"]
    assert isinstance(status, dict)
    return int(status["pendingRequests"])


def test_a_failed_scaling_is_taken_back(server: Server) -> None:
    assert server.manage("POST", "/models?url=refuses.mar&initial_workers=0").status == 200
    answer = server.manage("PUT", "/models/refuses?min_worker=2&synchronous=true")
    assert (answer.status, answer.message()) == (
        500,
        "Failed to start workers for model refuses version: null",
    )
    described = server.describe("refuses")
    assert (described["minWorkers"], described["workers"]) == (0, [])
    assert server.predict("refuses", b"x").status == 503
    assert server.manage("DELETE", "/models/refuses").status == 200


def test_workers_that_were_given_up_are_replaced(start_server: ServerFactory) -> None:
    settings = {"minWorkers": 1, "maxRetryTimeoutInSec": 1}
    server = start_server({"name": "refuses", "settings": settings}, ready=False)

    def is_given_up() -> bool:
        try:
            return server.workers("refuses")[0].get("state") == "FAILED"
        except (OSError, LookupError):
            return False

    wait_until(is_given_up, 30, "its worker is given up")
    (old,) = server.workers("refuses")
    assert server.manage("PUT", "/models/refuses?min_worker=1").status == 202
    (new,) = server.workers("refuses")
    assert new["id"] != old["id"]
    assert new.get("state") != "FAILED"
