"""Snapshots: written at every change, restored by the next start, never in the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.archives import build_archive
from harness.processes import kill
from harness.server import Server

NAME = re.compile(r"\d{17}-(startup|snapshot|shutdown)\.cfg")
FLAGS = ("--disable-token-auth", "--enable-model-api")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with two archives in its store and one of them loaded, not started yet."""
    store = tmp_path / "store"
    build_archive(store, "echo")
    build_archive(store, "second", handler="version.py")
    build_archive(store, "second", handler="version.py", version="2.0", file_name="second_v2")
    made = Server(tmp_path, models=["echo.mar"], flags=FLAGS, config={"job_queue_size": 55})
    yield made
    made.stop()


def files(server: Server) -> list[Path]:
    """The snapshots, oldest first."""
    folder = server.working / "logs" / "config"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def occasions(server: Server) -> list[str]:
    """What the snapshots were written for, oldest first."""
    found = [NAME.fullmatch(file.name) for file in files(server)]
    return [match.group(1) for match in found if match]


def models(file: Path) -> dict[str, Any]:
    """The models of a snapshot, read as Java reads properties."""
    (line,) = [line for line in file.read_text().splitlines() if line.startswith("model_snapshot=")]
    value = line.partition("=")[2]
    text = re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)
    snapshot = json.loads(text)
    assert snapshot["name"] == file.name
    assert snapshot["modelCount"] == len(snapshot["models"])
    assert isinstance(snapshot["created"], int)
    found: dict[str, Any] = snapshot["models"]
    return found


def start_again(server: Server, *flags: str, loaded: tuple[str, ...] = ()) -> str:
    """Starts without a config file; returns what that start wrote into the log."""
    server.flags = [*FLAGS, *flags]
    server.models = list(loaded)
    before = len(server.log_file("ts_log.log"))
    server.start(with_config=False)
    return server.log_file("ts_log.log")[before:]


def refused(server: Server, *flags: str) -> str:
    """What a start that is refused prints."""
    words = [*server.command, "--foreground", *FLAGS, "--model-store", str(server.store), *flags]
    # The pid file of a server elsewhere is none of this test's business.
    folder = str(server.temporary)
    done = subprocess.run(
        words,
        cwd=server.working,
        env={**os.environ, "TMPDIR": folder, "TEMP": folder},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout + done.stderr


def test_every_change_is_written_and_a_restart_continues_there(server: Server) -> None:
    server.start()
    assert occasions(server) == ["startup"]
    assert files(server)[0].stat().st_mode & 0o777 == 0o600
    assert models(files(server)[0]) == {
        "echo": {
            "1.0": {
                "defaultVersion": True,
                "marName": "echo.mar",
                "minWorkers": 1,
                "maxWorkers": 1,
                "batchSize": 1,
                "maxBatchDelay": 100,
                "responseTimeout": 120,
                "startupTimeout": 120,
                "runtimeType": "python",
            }
        }
    }
    changes = [
        ("POST", "/models?url=second.mar&batch_size=3&max_batch_delay=40&response_timeout=77"),
        ("POST", "/models?url=second_v2.mar&initial_workers=1&synchronous=true"),
        ("PUT", "/models/second/1.0?min_worker=1&synchronous=true"),
        ("PUT", "/models/second/2.0/set-default"),
        ("DELETE", "/models/echo"),
    ]
    for method, path in changes:
        written = len(files(server))
        assert server.manage(method, path).status == 200, path
        # It is there when the client hears that the change was made.
        assert len(files(server)) == written + 1, path
    assert server.manage("DELETE", "/models/nobody").status == 404
    assert len(files(server)) == 1 + len(changes)
    server.terminate()
    assert occasions(server) == ["startup", *["snapshot"] * len(changes), "shutdown"]
    assert {name: list(saved) for name, saved in models(files(server)[-1]).items()} == {
        "second": ["1.0", "2.0"]
    }

    (server.working / "config.properties").write_text("job_queue_size=9\n")
    log = start_again(server)
    assert "settings come from the snapshot" in log
    assert "-shutdown.cfg" in log
    assert "./config.properties is not read" in log
    assert server.model_names() == ["second"]
    default = server.describe("second")
    assert (default["modelVersion"], default["modelUrl"]) == ("2.0", "second_v2.mar")
    assert default["loadedAtStartup"] is False
    assert default["jobQueueStatus"] == {"remainingCapacity": 55, "pendingRequests": 0}
    first = json.loads(server.manage("GET", "/models/second/1.0").body)[0]
    assert (first["batchSize"], first["maxBatchDelay"], first["responseTimeout"]) == (3, 40, 77)
    assert (first["minWorkers"], first["maxWorkers"]) == (1, 1)
    assert server.predict("second").status == 200


def test_a_killed_server_continues_from_its_last_change(server: Server) -> None:
    server.start()
    assert server.manage("PUT", "/models/echo?min_worker=2&synchronous=true").status == 200
    assert server.process is not None
    kill(server.process.pid, signal.SIGKILL)
    server.stop()
    start_again(server)
    assert len(server.workers("echo")) == 2


def test_flags_go_before_a_snapshot(server: Server) -> None:
    server.start()
    server.terminate()
    log = start_again(server, loaded=("second.mar",))
    assert "the models of the snapshot are not loaded: --models says which are" in log
    assert server.model_names() == ["second"]
    queue = server.describe("second")["jobQueueStatus"]
    assert queue == {"remainingCapacity": 55, "pendingRequests": 0}


def test_ncs_neither_writes_nor_reads(server: Server) -> None:
    server.flags = [*FLAGS, "--ncs"]
    server.start()
    assert server.manage("PUT", "/models/echo?min_worker=1").status == 202
    server.terminate()
    assert files(server) == []

    folder = server.working / "logs" / "config"
    folder.mkdir()
    (folder / "20250307140509123-startup.cfg").write_text("nonsense=1\nmodel_snapshot=broken\n")
    server.start()
    assert server.model_names() == ["echo"]
    assert len(files(server)) == 1


def test_a_snapshot_can_be_named_as_the_config_file(server: Server, tmp_path: Path) -> None:
    server.start()
    server.terminate()
    kept = tmp_path / "kept.cfg"
    files(server)[-1].rename(kept)
    for file in files(server):
        file.unlink()
    server.models = []
    server.flags = [*FLAGS, "--ts-config", str(kept)]
    server.start(with_config=False)
    assert server.model_names() == ["echo"]


def test_strangers_in_the_folder_are_nobodys_business(server: Server) -> None:
    folder = server.working / "logs" / "config"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("= \\u")
    (folder / "zzz-startup.cfg").write_text("= \\u")
    (folder / "99999999999999999-directory.cfg").mkdir()
    server.start()
    server.terminate()
    start_again(server)
    assert server.model_names() == ["echo"]


def test_a_missing_archive_refuses_the_start(server: Server) -> None:
    server.start()
    server.terminate()
    (server.store / "echo.mar").unlink()
    text = "Model archive file for model :echo, version :1.0 not found in model store"
    assert refused(server) == f"{text}\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("model_snapshot=broken\n", ":1: model_snapshot: "),
        ("", "is not a snapshot: it has no model_snapshot"),
    ],
)
def test_a_damaged_snapshot_refuses_the_start(server: Server, content: str, problem: str) -> None:
    folder = server.working / "logs" / "config"
    folder.mkdir(parents=True)
    name = "20250307140509123-startup.cfg"
    (folder / name).write_text(content)
    printed = refused(server)
    assert name in printed
    assert problem in printed
    assert "--no-config-snapshots" in printed


def test_a_folder_that_cannot_be_written_costs_a_warning_only(server: Server) -> None:
    logs = server.working / "logs"
    logs.mkdir()
    (logs / "config").write_text("a file, not a folder")
    server.start()
    assert server.manage("PUT", "/models/echo?min_worker=1&synchronous=true").status == 200
    assert "cannot be written" in server.log_file("ts_log.log")
