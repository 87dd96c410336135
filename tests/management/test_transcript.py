"""A person's first day with the management API: the commands of a tutorial, as it prints them.

Only ports and the place of the archives are others: `http://localhost:8081` is this server's
management port, and what the tutorial fetches from `torchserve.pytorch.org` comes from here.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.files import file_server
from harness.server import Server

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")

ARCHIVE = "https://torchserve.pytorch.org/mar_files/squeezenet1_1.mar"


@dataclass(frozen=True)
class Curl:
    """What curl printed: of the answer its status line, headers and body."""

    status_line: str
    headers: list[str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with archives made by the tutorial's command, and the URL that serves it."""
    folder = tmp_path_factory.mktemp("transcript")
    (folder / "serve" / "examples" / "image_classifier" / "densenet_161").mkdir(parents=True)
    example = folder / "serve" / "examples" / "image_classifier"
    (example / "densenet_161" / "model.py").write_text("class Model:\n    pass\n")
    (example / "index_to_name.json").write_text('{"0": ["n0", "tabby"]}')
    (folder / "densenet161-8d451a50.pth").write_bytes(b"weights")
    (folder / "model_store").mkdir()
    for name in ("densenet161", "squeezenet1_1"):
        # The classifier itself would need torchvision: one with the same answer stands in for it.
        (folder / "classifier.py").write_text(
            "def handle(data, context):\n"
            "    return [{'tabby': 0.5, 'lynx': 0.25}] * len(data) if data else None\n"
        )
        command = f"""-m archiver
            --model-name {name}
            --version 1.0
            --model-file ./serve/examples/image_classifier/densenet_161/model.py
            --serialized-file densenet161-8d451a50.pth
            --export-path model_store
            --extra-files ./serve/examples/image_classifier/index_to_name.json
            --handler classifier.py"""
        done = subprocess.run(
            [sys.executable, *shlex.split(command)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
    files = {"/squeezenet1_1.mar": (folder / "model_store" / "squeezenet1_1.mar").read_bytes()}
    with file_server() as web:
        web.files.update(files)
        yield folder, web.url("/squeezenet1_1.mar")


@pytest.fixture(scope="module")
def server(archives: tuple[Path, str]) -> Iterator[Server]:
    """Started as the tutorial says; tokens and the switch of the model API are younger than it."""
    folder, _ = archives
    config = {
        "disable_token_authorization": "true",
        "enable_model_api": "true",
        "default_workers_per_model": 0,
    }
    server = Server(folder / "run", flags=["--ncs"], models=["densenet161.mar"], config=config)
    shutil.copy(folder / "model_store" / "densenet161.mar", server.store)
    server.start()
    yield server
    server.stop()


def run(server: Server, archive: str, command: str) -> Curl:
    """Runs one command of the tutorial and reads what curl shows with `-i` in place of `-v`."""
    command = command.replace(ARCHIVE, archive)
    command = command.replace("localhost:8081", f"127.0.0.1:{server.management_port}")
    command = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    words = [word for word in shlex.split(command) if word != "-v"]
    done = subprocess.run(
        [*words, "-s", "-S", "-i"],
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    while head.startswith("HTTP/1.1 100"):
        head, _, body = body.partition("\n\n")
    status_line, *headers = head.split("\n")
    return Curl(status_line, headers, body)


HEADERS = [
    "content-type: application/json",
    "x-request-id: ",
    "Pragma: no-cache",
    "Cache-Control: no-cache; no-store, must-revalidate, private",
    "Expires: Thu, 01 Jan 1970 00:00:00 UTC",
    "content-length: ",
    "connection: keep-alive",
]


def assert_printed(answer: Curl, status_line: str, status: str) -> None:
    """The answer is the one that the tutorial prints, header for header."""
    assert answer.status_line == status_line
    assert len(answer.headers) == len(HEADERS), answer
    for header, start in zip(answer.headers, HEADERS, strict=True):
        assert header.startswith(start)
    assert answer.body == json.dumps({"status": status}, indent=2) + "\n"
    assert f"content-length: {len(answer.body)}" in answer.headers


def test_the_transcript(server: Server, archives: tuple[Path, str]) -> None:
    _, archive = archives
    (server.folder / "kitten_small.jpg").write_bytes(b"\xff\xd8\xff\xe0 a kitten")

    def curl(command: str) -> Curl:
        return run(server, archive, command)

    predicted = curl("curl http://127.0.0.1:8080/predictions/densenet161 -T kitten_small.jpg")
    assert predicted.json() == {"tabby": 0.5, "lynx": 0.25}

    registered = curl(f'curl -X POST  "http://localhost:8081/models?url={ARCHIVE}"')
    assert registered.json() == {
        "status": 'Model "squeezenet1_1" Version: 1.0 registered with 0 initial workers. '
        "Use scale workers API to add workers for the model."
    }
    removed = curl("curl -X DELETE http://localhost:8081/models/squeezenet1_1/1.0")
    assert removed.body == '{\n  "status": "Model \\"squeezenet1_1\\" unregistered"\n}\n'

    accepted = "Processing worker updates..."
    answer = curl(
        'curl -v -X POST "http://localhost:8081/models?initial_workers=1&synchronous=false'
        f'&url={ARCHIVE}"'
    )
    assert_printed(answer, "HTTP/1.1 202 Accepted", accepted)
    assert "content-length: 47" in answer.headers
    answer = curl('curl -v -X PUT "http://localhost:8081/models/squeezenet1_1/?min_worker=3"')
    assert_printed(answer, "HTTP/1.1 202 Accepted", accepted)
    answer = curl('curl -v -X PUT "http://localhost:8081/models/squeezenet1_1/1.0?min_worker=3"')
    assert_printed(answer, "HTTP/1.1 202 Accepted", accepted)

    server.wait_until_loaded("squeezenet1_1")
    (described,) = curl("curl http://localhost:8081/models/squeezenet1_1").json()
    printed = {
        "modelName": "squeezenet1_1",
        "modelVersion": "1.0",
        "modelUrl": archive,
        "runtime": "python",
        "minWorkers": 3,
        "maxWorkers": 3,
        "batchSize": 1,
        "maxBatchDelay": 100,
        "loadedAtStartup": False,
    }
    assert {name: described[name] for name in printed} == printed
    assert len(described["workers"]) == 3
    for worker in described["workers"]:
        assert worker["id"].isdigit()
        assert worker["startTime"].endswith("Z")
        assert worker["status"] == "READY"
        assert isinstance(worker["gpu"], bool)
        assert worker["memoryUsage"] > 0
    everything = curl("curl http://localhost:8081/models/squeezenet1_1/all").json()
    assert [one["modelVersion"] for one in everything] == ["1.0"]

    assert curl('curl "http://localhost:8081/models"').json() == {
        "models": [
            {"modelName": "densenet161", "modelUrl": "densenet161.mar"},
            {"modelName": "squeezenet1_1", "modelUrl": archive},
        ]
    }
    answer = curl("curl -v -X PUT http://localhost:8081/models/squeezenet1_1/1.0/set-default")
    text = 'Default version successfully updated for model "squeezenet1_1" to "1.0"'
    assert_printed(answer, "HTTP/1.1 200 OK", text)
    removed = curl("curl -X DELETE http://localhost:8081/models/squeezenet1_1/1.0")
    assert removed.body == '{\n  "status": "Model \\"squeezenet1_1\\" unregistered"\n}\n'
