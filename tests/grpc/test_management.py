"""All management calls and their errors."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import ServerFactory
from harness.archives import build_archive

from .conftest import Connect, refused

HTTP = "org.pytorch.serve.http"
ARCHIVE = "org.pytorch.serve.archive.model"
NOT_FOUND = f"Model not found: no\n{ARCHIVE}.ModelNotFoundException"
NAME_REQUIRED = f"Parameter model_name is required.\n{HTTP}.BadRequestException"


def test_a_model_from_registration_to_removal(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server(ready=False, config={"default_workers_per_model": 0})
    server.wait_until_serving()
    for version in ("1.0", "2.0"):
        name = f"version_{version[0]}"
        build_archive(server.store, "version", version=version, file_name=name)
    client = connect(server)
    said = client.manage("RegisterModel", url="version_1.mar")
    assert said == (
        'Model "version" Version: 1.0 registered with 0 initial workers. Use scale workers API to '
        "add workers for the model."
    )
    said = client.manage("RegisterModel", url="version_2.mar", initial_workers=1, synchronous=True)
    assert said == 'Model "version" Version: 2.0 registered with 1 initial workers'
    assert client.manage("ScaleWorker", model_name="version") == "Processing worker updates..."
    said = client.manage(
        "ScaleWorker", model_name="version", model_version="1.0", min_worker=2, synchronous=True
    )
    assert said == "Workers scaled to 2 for model: version, version: 1.0"
    described = json.loads(client.manage("DescribeModel", model_name="version"))
    assert [one["modelVersion"] for one in described] == ["1.0"]
    assert len(described[0]["workers"]) == 2
    every = client.manage("DescribeModel", model_name="version", model_version="all")
    assert sorted(one["modelVersion"] for one in json.loads(every)) == ["1.0", "2.0"]
    assert every == json.dumps(json.loads(every), indent=2)
    default = client.manage("SetDefault", model_name="version", model_version="2.0")
    assert default == 'Default version successfully updated for model "version" to "2.0"'
    listed = json.loads(client.manage("ListModels", limit=10))
    assert listed == {"models": [{"modelName": "version", "modelUrl": "version_2.mar"}]}
    # An unset limit is a limit of 0.
    assert json.loads(client.manage("ListModels"))["models"] == []
    assert json.loads(client.manage("ListModels", limit=-5))["models"] == listed["models"]
    text = "Cannot remove default version for model version"
    with refused("FAILED_PRECONDITION", f"{text}\n{HTTP}.InvalidModelVersionException"):
        client.manage("UnregisterModel", model_name="version", model_version="2.0")
    for version in ("1.0", ""):
        said = client.manage("UnregisterModel", model_name="version", model_version=version)
        assert said == 'Model "version" unregistered'
    assert server.model_names() == []


def test_errors(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("noop", {"name": "broken"}, models=["noop.mar"])
    client = connect(server)
    with refused("NOT_FOUND", NOT_FOUND):
        client.manage("DescribeModel", model_name="no")
    with refused("INTERNAL", NOT_FOUND):
        client.manage("DescribeModel", model_name="no", customized=True)
    for method in ("DescribeModel", "ScaleWorker", "SetDefault", "UnregisterModel"):
        with refused("INVALID_ARGUMENT", NAME_REQUIRED):
            client.manage(method)
    with refused("NOT_FOUND", NOT_FOUND):
        client.manage("ScaleWorker", model_name="no", min_worker=1)
    with refused("NOT_FOUND", NOT_FOUND):
        client.manage("UnregisterModel", model_name="no")
    with refused("NOT_FOUND"):
        client.manage("SetDefault", model_name="noop", model_version="9")
    text = "max_worker cannot be less than min_worker."
    with refused("INVALID_ARGUMENT", f"{text}\n{HTTP}.BadRequestException"):
        client.manage("ScaleWorker", model_name="noop", min_worker=3, max_worker=1)
    with refused("INVALID_ARGUMENT", f"Parameter url is required.\n{HTTP}.BadRequestException"):
        client.manage("RegisterModel", model_name="x")
    text = "Model not found at: absent.mar"
    with refused("NOT_FOUND", f"{text}\n{ARCHIVE}.ModelNotFoundException"):
        client.manage("RegisterModel", url="absent.mar")
    text = "Model version 1.0 is already registered for model noop"
    with refused("ALREADY_EXISTS", f"{text}\n{HTTP}.ConflictStatusException"):
        client.manage("RegisterModel", url="noop.mar")
    text = "Failed to start workers for model broken version: 1.0"
    with refused("INTERNAL", f"{text}\n{HTTP}.InternalServerException"):
        client.manage("RegisterModel", url="broken.mar", initial_workers=1, synchronous=True)
    assert server.model_names() == ["noop"]
    (described,) = json.loads(client.manage("DescribeModel", model_name="noop", customized=True))
    assert "customizedMetadata" in described


def test_a_registration_ends_even_when_its_client_does_not_wait(
    start_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start_server(
        "noop", {"name": "gated"}, models=["noop.mar"], environment={"GATE": str(gate)}
    )
    client = connect(server)
    with refused("DEADLINE_EXCEEDED"):
        client.manage(
            "RegisterModel", timeout=0.3, url="gated.mar", initial_workers=1, synchronous=True
        )
    gate.touch()
    server.wait_until_loaded("gated")


def test_model_api_off(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("noop", flags=("--ncs", "--disable-token-auth"))
    client = connect(server)
    disabled = f"Model API disabled\n{ARCHIVE}.ModelException"
    with refused("PERMISSION_DENIED", disabled):
        client.manage("RegisterModel", url="noop.mar")
    with refused("PERMISSION_DENIED", disabled):
        client.manage("UnregisterModel", model_name="noop")
    said = client.manage("ScaleWorker", model_name="noop", min_worker=1, synchronous=True)
    assert said == "Workers scaled to 1 for model: noop"
