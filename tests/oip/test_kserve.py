"""What `deploy/kserve` says, and what the server makes of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.client import request
from harness.server import Server, tserve_binary

yaml = pytest.importorskip("yaml")
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kserve"
JSON = {"Content-Type": "application/json"}


def container() -> dict[str, Any]:
    document = yaml.safe_load((DEPLOY / "serving-runtime.yaml").read_text())
    (found,) = document["spec"]["containers"]
    return dict(found)


def shown(environment: dict[str, str], *words: str) -> dict[str, str]:
    """The effective configuration."""
    command = [str(tserve_binary()), "config", "show", "--json", *words]
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows: Any = json.loads(done.stdout)["settings"]
    return {row["key"]: row["value"] for row in rows}


def test_the_runtime_and_the_server_agree(tmp_path: Path) -> None:
    found = container()
    variables = {entry["name"]: entry["value"] for entry in found["env"]}
    assert "{{.Labels.protocolVersion}}" in variables["PROTOCOL_VERSION"]
    variables["PROTOCOL_VERSION"] = "v2"
    config = shown(variables)
    (port,) = [entry["containerPort"] for entry in found["ports"]]
    assert config["inference_address"] == f"http://0.0.0.0:{port}"
    assert config["ts_open_inference_protocol"] == "true"
    assert config["service_envelope"] == "kservev2"
    assert config["disable_token_authorization"] == "true"
    assert config["grpc_inference_address"] == "0.0.0.0"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert found[probe]["httpGet"]["port"] == port
    # A file that was written for KServe's wrapper.
    file = tmp_path / "config.properties"
    file.write_text(
        "inference_address=http://0.0.0.0:8085\nmanagement_address=http://0.0.0.0:8085\n"
        "metrics_address=http://0.0.0.0:8082\nenable_envvars_config=true\n"
    )
    config = shown(variables, "--ts-config", str(file))
    assert config["inference_address"] == f"http://0.0.0.0:{port}"
    service = yaml.safe_load((DEPLOY / "inference-service.yaml").read_text())
    assert service["spec"]["predictor"]["model"]["runtime"] == "tserve"


def test_a_service_answers_what_kserve_asks(start_server: Any) -> None:
    server = start_server("instances", config={"platform": "kserve"}, flags=("--ncs",))
    for path in (
        "/startupz",
        "/v2/health/ready",
        "/v2/health/live",
        "/v1/models/instances",
        "/ping",
    ):
        assert server.get(path).status == 200
    body = json.dumps({"instances": [1, 2]}).encode()
    answer = request(server.port, "POST", "/v1/models/instances:predict", body, JSON)
    told: Any = answer.json()
    assert (answer.status, told) == (200, {"predictions": [1, 2]})


def test_kserves_own_clients(typed: Server) -> None:
    kserve = pytest.importorskip("kserve", reason="pins old versions of what other tests need")
    np = pytest.importorskip("numpy")
    x = np.arange(4, dtype=np.float32)

    def inputs(is_binary: bool) -> Any:
        tensor = kserve.InferInput("x", [4], "FP32")
        tensor.set_data_from_numpy(x, binary_data=is_binary)
        parameters = {"binary_data_output": is_binary}
        return kserve.InferRequest("tensors", [tensor], "r", parameters=parameters)

    async def ask() -> None:
        rest = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        base = f"http://127.0.0.1:{typed.port}"
        assert await rest.is_server_live(base)
        assert await rest.is_server_ready(base)
        assert await rest.is_model_ready(base, "tensors")
        for is_binary in (True, False):
            answer = await rest.infer(base, inputs(is_binary), model_name="tensors")
            assert list(answer.outputs[0].as_numpy()) == [0, 1, 2, 3]
        await rest.close()
        grpc = kserve.InferenceGRPCClient(f"127.0.0.1:{typed.grpc_ports[0]}")
        assert await grpc.is_server_live()
        assert await grpc.is_server_ready()
        assert await grpc.is_model_ready("tensors")
        answer = await grpc.infer(inputs(False))
        assert list(answer.outputs[0].as_numpy()) == [0, 1, 2, 3]
        await grpc.close()

    asyncio.run(ask())
