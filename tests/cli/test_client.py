"""`tserve models ...` and `tserve predict` against a real server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server, free_ports, tserve_binary

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `tserve` as a client in a folder of its own, told of the server by its environment."""

    def client(
        *words: str, server: Server | None = None, given: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        own = ("TS_", "TSERVE_TOKEN")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        if server is not None:
            inherited["TS_INFERENCE_ADDRESS"] = f"http://127.0.0.1:{server.port}"
            inherited["TS_MANAGEMENT_ADDRESS"] = f"http://127.0.0.1:{server.management_port}"
        # Where no other server of this machine is found.
        inherited["TMPDIR"] = str(tmp_path)
        return subprocess.run(
            [tserve_binary(), *words],
            cwd=tmp_path,
            env={**inherited, **more},
            input=given or "",
            capture_output=True,
            text=True,
            timeout=60,
        )

    return client


def done(answer: subprocess.CompletedProcess[str]) -> str:
    """What a command printed that went well."""
    assert answer.returncode == 0, answer
    assert answer.stderr == ""
    return answer.stdout


def test_the_life_of_a_model(start_server: ServerFactory, run: Run) -> None:
    server = start_server("noop", "counted", models=["noop.mar"])
    assert done(run("models", "ls", server=server)).splitlines() == [
        "MODEL  VERSION  WORKERS  STATE  URL",
        "noop   1.0      1/1      READY  noop.mar",
    ]
    words = ("register", "counted.mar", "--model-name", "my model", "--batch-size", "3")
    assert "registered" in done(run("models", *words, server=server))
    listed = json.loads(done(run("models", "ls", "--json", server=server)))
    assert [model["modelName"] for model in listed["models"]] == ["my model", "noop"]
    assert "2" in done(run("models", "scale", "my model", "2", server=server))
    shown = done(run("models", "show", "my model", server=server))
    assert shown.count("READY") == 2
    assert "batch size          3" in shown.splitlines()
    (described,) = json.loads(done(run("models", "show", "my model", "--json", server=server)))
    assert (described["modelName"], described["minWorkers"]) == ("my model", 2)
    done(run("models", "set-default", "my model", "1.0", server=server))
    done(run("models", "rm", "my model", server=server))
    gone = run("models", "show", "my model", server=server)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == "tserve: Model not found: my model (404 ModelNotFoundException)\n"


def test_show_tells_why_a_worker_failed(start_server: ServerFactory, run: Run) -> None:
    model = {"name": "refuses", "settings": {"minWorkers": 1, "maxRetryTimeoutInSec": 1}}
    server = start_server(model, ready=False)

    def has_failed() -> bool:
        return "FAILED" in run("models", "ls", server=server).stdout

    wait_until(has_failed, 30, "the worker is given up")
    shown = done(run("models", "show", "refuses", server=server))
    assert "the handler cannot be loaded: ValueError: cannot load on purpose" in shown
    assert "refuses.py:6\n" in shown
    assert "Traceback (most recent call last)" in shown


def test_predictions(start_server: ServerFactory, run: Run, tmp_path: Path) -> None:
    server = start_server("counted", "trouble")
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}\n")
    (tmp_path / "wish.json").write_text('{"kind": "none"}')
    assert done(run("predict", "counted", "a.txt", server=server)) == "text a\n"
    assert done(run("predict", "counted", "-", server=server, given="typed")) == "typed\n"
    both = run("predict", "counted", "a.txt", "b.txt", server=server)
    assert done(both) == "a.txt: text a\nb.txt: text b\n"
    # A *.json file is sent as JSON.
    assert done(run("predict", "trouble", "wish.json", server=server)) == "still here\n"
    answers: list[dict[str, Any]] = json.loads(
        done(run("predict", "counted", "a.txt", "--json", "--model-version", "1.0", server=server))
    )
    assert [(answer["file"], answer["status"], answer["text"]) for answer in answers] == [
        ("a.txt", 200, "text a\n")
    ]
    refused = run("predict", "nobody", "a.txt", server=server)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ModelNotFoundException" in refused.stderr
    unreadable = run("predict", "counted", "none.txt", server=server)
    assert unreadable.returncode == 2
    assert unreadable.stderr.startswith("tserve: none.txt: cannot be read: ")


def test_the_server_of_the_working_folder_is_found(
    start_server: ServerFactory, run: Run, tmp_path: Path
) -> None:
    server = start_server("noop")
    config = tmp_path / "config.properties"
    config.write_text(f"management_address=http://127.0.0.1:{server.management_port}\n")
    assert "noop" in done(run("models", "ls"))
    (port,) = free_ports(1)
    flag = f"--management-address=http://127.0.0.1:{port}"
    assert run("models", "ls", flag).returncode == 3
    config.write_text("management_address=nonsense\n")
    wrong = run("models", "ls")
    assert wrong.returncode == 2
    assert "config.properties:1: management_address" in wrong.stderr


def test_the_server_of_this_machine_is_found(
    start_server: ServerFactory, run: Run, tmp_path: Path
) -> None:
    """Its address and its tokens too, whatever folder the command is called in."""
    server = start_server("noop", flags=("--ncs", "--enable-model-api"), ready=False)
    (tmp_path / "a.txt").write_text("text")

    def is_served() -> bool:
        return run("models", "show", "noop", TMPDIR=str(server.temporary)).stdout.count("READY") > 0

    wait_until(is_served, 30, "the model is ready")
    assert done(run("predict", "noop", "a.txt", TMPDIR=str(server.temporary))).strip() == "ok"
    assert done(run("models", "scale", "noop", "2", TMPDIR=str(server.temporary)))


def test_a_snapshot_tells_the_address(
    start_server: ServerFactory, run: Run, tmp_path: Path
) -> None:
    server = start_server("noop", flags=("--disable-token-auth",))
    (tmp_path / "logs").symlink_to(server.working / "logs")
    assert "noop" in done(run("models", "ls"))


def test_nobody_answers(run: Run) -> None:
    (port,) = free_ports(1)
    answer = run("models", "ls", TS_MANAGEMENT_ADDRESS=f"http://127.0.0.1:{port}")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert f"no server answers at http://127.0.0.1:{port}: Connection refused" in answer.stderr
    assert "hint: start one with `tserve --start" in answer.stderr
    assert "--management-address" in answer.stderr


@pytest.mark.parametrize(
    "words", [["models"], ["models", "scale", "m"], ["predict", "m"], ["models", "ls", "x"]]
)
def test_misuse(run: Run, words: list[str]) -> None:
    answer = run(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Usage: tserve" in answer.stderr


def test_models_may_be_called_like_commands(start_server: ServerFactory, run: Run) -> None:
    models = ["models=noop.mar", "predict=noop.mar"]
    server = start_server("noop", models=models)
    assert sorted(server.model_names()) == ["models", "predict"]
    listed = json.loads(done(run("models", "ls", "--json", server=server)))
    assert len(listed["models"]) == 2


def test_the_token_of_this_machine_is_sent(run: Run, tmp_path: Path) -> None:
    keys = {"management": {"key": "man"}, "inference": {"key": "inf"}, "API": {"key": "api"}}
    (tmp_path / "key_file.json").write_text(json.dumps(keys))
    (tmp_path / "a.txt").write_text("text")
    seen: list[str | None] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.headers["Authorization"])
            body = b'{"models": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Recorder) as listener:
        thread = Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.server_port}"
        done(run("models", "ls", "--management-address", address))
        done(run("predict", "m", "a.txt", "--inference-address", address))
        done(run("models", "ls", "--management-address", address, TSERVE_TOKEN="mine"))
        listener.shutdown()
        thread.join(10)
    assert seen == ["Bearer man", "Bearer inf", "Bearer mine"]
