"""The API description: valid, complete, and true of what the server really answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ServerFactory
from harness.archives import build_archive
from harness.client import Answer, request
from harness.processes import wait_until
from harness.server import Server
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

METHODS = {"get", "put", "post", "delete", "options", "patch", "head"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openapi")
    build_archive(folder / "store", "noop")
    settings = {"minWorkers": 1, "maxRetryTimeoutInSec": 1}
    build_archive(folder / "store", "refuses", settings=settings)
    build_archive(folder / "store", "spare", handler="noop.py")
    server = Server(folder, models=["noop.mar", "refuses.mar"])
    server.start(ready=False)
    server.wait_until_loaded("noop")
    yield server
    server.stop()


def described(port: int, method: str, path: str) -> dict[str, Any]:
    answer = request(port, method, path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = json.loads(answer.body)
    return document


def test_every_description_is_valid(server: Server) -> None:
    for port, method, path in [
        (server.port, "OPTIONS", "/"),
        (server.port, "GET", "/api-description"),
        (server.port, "OPTIONS", "/predictions/noop"),
        (server.management_port, "OPTIONS", "/"),
        (server.management_port, "GET", "/api-description"),
        (server.management_port, "OPTIONS", "/models/noop"),
        (server.metrics_port, "OPTIONS", "/"),
    ]:
        validate(described(port, method, path))


def test_both_ways_to_the_description_are_one(server: Server) -> None:
    for port in (server.port, server.management_port):
        assert described(port, "OPTIONS", "/") == described(port, "GET", "/api-description")


def test_what_is_described_exists_and_other_methods_do_not(server: Server) -> None:
    document = described(server.management_port, "OPTIONS", "/")
    for path, operations in document["paths"].items():
        if path in ("/metrics", "/livez", "/readyz", "/startupz", "/api-description"):
            continue  # on other listeners, or with any method
        target = path.replace("{model_name}", "nobody").replace("{model_version}", "1")
        for method in METHODS - {"options"}:
            answer = request(server.management_port, method.upper(), target)
            if method in operations:
                assert answer.status != 405, f"{method} {target}"
                assert b"Requested resource is not found" not in answer.body
            # GET and DELETE of set-default are oddities of the original that nobody describes.
            elif not path.endswith("set-default"):
                assert answer.status == 405, f"{method} {target}"


def closed(schema: Any) -> Any:
    """The same schema, which takes no property that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(part) for key, part in schema.items()}
    if "properties" in made:
        made["additionalProperties"] = False
    return made


def check(document: dict[str, Any], path: str, method: str, answer: Answer) -> Any:
    """Holds an answer against its description; returns its body."""
    responses = document["paths"][path][method]["responses"]
    assert str(answer.status) in responses, f"{method} {path}: {answer}"
    (schema,) = responses[str(answer.status)]["content"].values()
    body = json.loads(answer.body)
    OAS30Validator(closed(schema["schema"])).validate(body)
    return body


def test_answers_are_as_described(server: Server) -> None:
    document = described(server.management_port, "OPTIONS", "/")
    one, version = "/models/{model_name}", "/models/{model_name}/{model_version}"

    def ask(method: str, target: str, path: str) -> Any:
        return check(document, path, method.lower(), server.manage(method, target))

    def has_failed() -> bool:
        return server.workers("refuses")[0].get("state") == "FAILED"

    wait_until(has_failed, 30, "a worker is given up")
    ask("GET", "/models", "/models")
    ask("GET", "/models?limit=1", "/models")
    ask("GET", "/models/noop", one)
    failed = ask("GET", "/models/refuses/all", version)
    assert "traceback" in failed[0]["workers"][0]["lastError"]
    ask("GET", "/models/noop?customized=true", one)
    ask("GET", "/models/nobody", one)
    ask("GET", "/models/noop/2", version)
    ask("POST", "/models", "/models")
    ask("POST", "/models?url=none.mar", "/models")
    ask("POST", "/models?url=noop.mar", "/models")
    ask("POST", "/models?url=spare.mar", "/models")
    ask("GET", "/models/spare?customized=true", one)
    ask("PUT", "/models/spare?min_worker=-1", one)
    ask("PUT", "/models/spare?min_worker=1", one)
    ask("PUT", "/models/spare/1.0?min_worker=1&synchronous=true", version)
    ask("PUT", "/models/spare/1.0/set-default", version + "/set-default")
    ask("PUT", "/models/spare/2.0/set-default", version + "/set-default")
    ask("DELETE", "/models/spare", one)
    ask("DELETE", "/models/spare", one)
    ask("PUT", "/models/refuses?min_worker=1&synchronous=true", one)
    ask("GET", "/readyz", "/readyz")
    ask("GET", "/readyz?model=noop", "/readyz")
    ask("GET", "/readyz?model=nobody", "/readyz")
    ask("GET", "/livez", "/livez")
    ask("GET", "/startupz", "/startupz")


def test_a_switched_off_model_api_answers_as_described(start_server: ServerFactory) -> None:
    server = start_server("noop", flags=("--ncs", "--disable-token-auth"))
    document = described(server.management_port, "OPTIONS", "/")
    answer = server.manage("POST", "/models?url=noop.mar")
    check(document, "/models", "post", answer)
    check(document, "/models/{model_name}", "delete", server.manage("DELETE", "/models/noop"))
    assert answer.status == 405
