"""The management API as a client meets it: parameters, statuses, texts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import ServerFactory
from harness.archives import build_archive
from harness.client import Answer, request
from harness.server import Server

ARCHIVES = ["noop"]


def post(server: Server, body: bytes, content_type: str, query: str = "") -> Answer:
    headers = {"Content-Type": content_type}
    return request(server.management_port, "POST", f"/models{query}", body, headers, timeout=60)


@pytest.fixture
def spare(shared_server: Server) -> Iterator[str]:
    """An archive in the store that is not registered, before and after."""
    if not (shared_server.store / "spare.mar").exists():
        build_archive(shared_server.store, "spare", handler="noop.py")
    yield "spare.mar"
    shared_server.manage("DELETE", "/models/spare")


def test_registration_by_query(shared_server: Server, spare: str) -> None:
    answer = shared_server.manage("POST", f"/models?url={spare}&initial_workers=0")
    assert answer.status == 200
    assert answer.json() == {
        "status": 'Model "spare" Version: 1.0 registered with 0 initial workers. '
        "Use scale workers API to add workers for the model."
    }
    again = shared_server.manage("POST", f"/models?url={spare}")
    assert (again.status, again.phrase) == (409, "Conflict")
    assert again.message() == "Model version 1.0 is already registered for model spare"


def test_registration_by_json_ignores_the_query(shared_server: Server, spare: str) -> None:
    wish = {"url": spare, "initial_workers": "0", "batch_size": 3, "max_batch_delay": 7}
    answer = post(shared_server, json.dumps(wish).encode(), "Application/JSON", "?batch_size=9")
    assert answer.status == 200, answer
    described = shared_server.describe("spare")
    assert (described["batchSize"], described["maxBatchDelay"]) == (3, 7)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "kind"),
    [
        (b"url=spare.mar", "application/x-www-form-urlencoded", 400, "BadRequestException"),
        (b"{}", "application/json", 400, "BadRequestException"),
        (b"{", "application/json", 500, "JsonSyntaxException"),
        (b'{"url": ["spare.mar"]}', "application/json", 500, "JsonSyntaxException"),
    ],
)
def test_registration_that_names_no_archive(
    shared_server: Server, body: bytes, content_type: str, status: int, kind: str
) -> None:
    answer = post(shared_server, body, content_type)
    assert answer.status == status
    assert dict(json.loads(answer.body))["type"] == kind


def test_pages_of_the_list(shared_server: Server, spare: str) -> None:
    shared_server.manage("POST", f"/models?url={spare}&initial_workers=0")
    noop = {"modelName": "noop", "modelUrl": "noop.mar"}
    both = [noop, {"modelName": "spare", "modelUrl": "spare.mar"}]
    for query, expected in [
        ("", {"models": both}),
        ("?limit=1", {"nextPageToken": "1", "models": [noop]}),
        ("?limit=2", {"nextPageToken": "2", "models": both}),
        ("?limit=1&next_page_token=1", {"nextPageToken": "2", "models": both[1:]}),
        ("?limit=0", {"nextPageToken": "0", "models": []}),
        ("?limit=x&next_page_token=y", {"models": both}),
        ("?limit=1&limit=2", {"nextPageToken": "1", "models": [noop]}),
        ("?next_page_token=9", {"models": []}),
    ]:
        assert shared_server.manage("GET", f"/models{query}").json() == expected, query


def test_scaling_by_path_and_by_query(shared_server: Server, spare: str) -> None:
    shared_server.manage("POST", f"/models?url={spare}&initial_workers=0")
    scaled = shared_server.manage("PUT", "/models/spare?min_worker=1&synchronous=TRUE")
    assert (scaled.status, scaled.json()) == (
        200,
        {"status": "Workers scaled to 1 for model: spare"},
    )
    accepted = shared_server.manage("PUT", "/models/spare?min_worker=0&max_worker=2")
    assert (accepted.status, accepted.phrase) == (202, "Accepted")
    missing = shared_server.manage("PUT", "/models/spare?model_version=7")
    assert missing.message() == "Model version: 7 does not exist for model: spare"
    wrong = shared_server.manage("PUT", "/models/spare?max_worker=0")
    assert (wrong.status, wrong.message()) == (
        400,
        "max_worker cannot be less than min_worker.",
    )


def test_default_version_and_its_odd_paths(shared_server: Server) -> None:
    answer = shared_server.manage("PUT", "/models/noop/1.0/set-default")
    assert answer.json() == {
        "status": 'Default version successfully updated for model "noop" to "1.0"'
    }
    missing = shared_server.manage("PUT", "/models/noop/2.0/set-default")
    assert missing.message() == "Model version 2.0 does not exist for model noop"
    described = json.loads(shared_server.manage("GET", "/models/noop/9/set-default").body)
    assert described[0]["modelVersion"] == "1.0"
    assert shared_server.manage("POST", "/models/noop/1.0/set-default").status == 405
    assert shared_server.manage("GET", "/models/noop/1.0/other").status == 404


def test_methods_that_do_not_exist(shared_server: Server) -> None:
    for method, path in [
        ("PUT", "/models"),
        ("POST", "/models/noop"),
        ("DELETE", "/v1/models/noop"),
    ]:
        answer = shared_server.manage(method, path)
        assert (answer.status, answer.phrase) == (405, "Method Not Allowed")
        assert "allow" not in answer.headers


def test_readiness_for_kserve(shared_server: Server) -> None:
    answer = shared_server.manage("GET", "/v1/models/noop:anything")
    assert answer.text == '{\n  "name": "noop",\n  "ready": true\n}\n'
    assert shared_server.manage("GET", "/v1/models/nobody").status == 404


def test_descriptions(shared_server: Server) -> None:
    answer = shared_server.manage("OPTIONS", "/models/noop")
    assert json.loads(answer.body)["info"]["title"] == "RESTful Management API for: noop"
    everything = json.loads(shared_server.manage("OPTIONS", "/").body)
    assert set(everything["paths"]["/models/{model_name}"]) == {"get", "put", "delete"}


def test_closed_model_api_still_lists_and_scales(start_server: ServerFactory) -> None:
    server = start_server("noop", flags=("--ncs", "--disable-token-auth"))
    for method, path in [("POST", "/models?url=noop.mar"), ("DELETE", "/models/noop")]:
        assert server.manage(method, path).status == 405
    assert server.model_names() == ["noop"]
    assert server.manage("PUT", "/models/noop?min_worker=1&synchronous=true").status == 200
