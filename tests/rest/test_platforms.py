"""The contracts of hosting platforms: what SageMaker and Vertex AI call, and the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.archives import build_archive
from harness.client import request
from harness.processes import wait_until
from harness.server import Server

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def endpoint(start_server) -> Server:
    """An endpoint of one model."""
    return start_server(
        {"name": "echo", "settings": {"minWorkers": 1, "maxWorkers": 2, "batchSize": 3}},
        flags=("--ncs",),
        config={"platform": "sagemaker", "max_request_size": 6 << 20},
    )


def test_sagemaker_calls_ping_invocations_and_execution_parameters(endpoint: Server) -> None:
    assert endpoint.get("/ping").status == 200
    answer = request(endpoint.port, "POST", "/invocations", b'{"a": 1}', JSON)
    assert (answer.status, b"'a'" in answer.body or b'"a"' in answer.body) == (200, True)
    answer = endpoint.get("/execution-parameters")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "MaxConcurrentTransforms": 6,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }
    assert request(endpoint.port, "POST", "/execution-parameters", b"").status == 405
    assert request(endpoint.management_port, "GET", "/execution-parameters").status == 404


def test_paths_of_platforms_exist_there_only(start_server) -> None:
    server = start_server("echo", environment={"AIP_PREDICT_ROUTE": "/go"})
    assert server.get("/execution-parameters").status == 404
    assert server.get("/go").status == 404


def test_sagemaker_loads_asks_and_removes_models(start_server, tmp_path: Path) -> None:
    folder = build_archive(tmp_path / "models", "echo", archive_format="no-archive")
    server = Server(
        tmp_path / "server",
        flags=("--ncs",),
        environment={"SAGEMAKER_MULTI_MODEL": "true"},
        config={"platform": "sagemaker"},
    )
    # Both APIs on one port, as there.
    server.management_port = server.port
    server.config["management_address"] = f"http://127.0.0.1:{server.port}"
    start_server.servers.append(server)
    server.start()
    assert server.get("/ping").status == 200
    load = json.dumps({"model_name": "m-1", "url": str(folder)}).encode()
    assert request(server.port, "POST", "/models", load, JSON).status == 200
    assert request(server.port, "POST", "/models", load, JSON).status == 409
    answer = request(server.port, "POST", "/models/m-1/invoke", b"x")
    assert answer.status == 200
    listed = server.get("/models").json()
    assert listed == {"models": [{"modelName": "m-1", "modelUrl": str(folder)}]}
    (described,) = server.get("/models/m-1").json()
    assert (described["modelName"], described["modelUrl"]) == ("m-1", str(folder))
    assert request(server.port, "DELETE", "/models/m-1").status == 200
    assert request(server.port, "POST", "/models/m-1/invoke", b"x").status == 404
    large = build_archive(tmp_path / "models", "greedy", archive_format="no-archive")
    load = json.dumps({"model_name": "m-3", "url": str(large)}).encode()
    assert request(server.port, "POST", "/models", load, JSON).status == 507
    missing = json.dumps({"model_name": "m-2", "url": str(tmp_path / "none")}).encode()
    assert request(server.port, "POST", "/models", missing, JSON).status == 404
    assert server.get("/ping").status == 200


def test_vertex_names_the_paths_that_it_calls(start_server) -> None:
    path = "/v1/endpoints/12/deployedModels/34"
    server = start_server(
        "echo",
        flags=("--ncs",),
        environment={"AIP_HEALTH_ROUTE": path, "AIP_PREDICT_ROUTE": f"{path}:predict"},
        config={"platform": "vertex"},
    )
    assert server.get(path).status == 200
    body = json.dumps({"instances": [1, 2]}).encode()
    answer = request(server.port, "POST", f"{path}:predict", body, JSON)
    assert (answer.status, b"instances" in answer.body) == (200, True)
    large = json.dumps({"instances": ["x" * 100_000]}).encode()
    assert request(server.port, "POST", f"{path}:predict", large, JSON).status == 200
    assert request(server.port, "GET", f"{path}:predict").status == 405
    assert request(server.port, "POST", path, b"").status == 405
    assert request(server.management_port, "GET", path).status == 404


def test_vertex_waits_until_the_model_is_loaded(start_server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start_server(
        "gated",
        ready=False,
        flags=("--ncs",),
        environment={"AIP_HEALTH_ROUTE": "/health", "GATE": str(gate)},
        config={"platform": "vertex"},
    )

    def health() -> int:
        try:
            return server.get("/health").status
        except OSError:
            return 0

    wait_until(lambda: health() == 503, 20, "the server says that it is not ready")
    gate.touch()
    wait_until(lambda: health() == 200, 20, "the model is loaded")
