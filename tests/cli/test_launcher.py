"""``ts.launcher``: scripts that start and stop a server."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import pytest
from harness import client
from harness.archives import build_archive
from harness.processes import MARK, kill, marked, wait_until
from harness.server import free_ports, tserve_binary

from tserve_worker import launcher


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own for the server that the launcher finds; returns the processes' mark."""
    mark = uuid.uuid4().hex
    binary = tmp_path / "bin" / "tserve"
    binary.parent.mkdir()
    binary.symlink_to(tserve_binary().resolve())
    variables = {
        "PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "TEMP": str(tmp_path),
        "TSERVE_PYTHON": sys.executable,
        MARK: mark,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launcher, "_executable", lambda: str(binary))
    return mark


def test_start_and_stop(surroundings: str, tmp_path: Path) -> None:
    build_archive(tmp_path / "store", "noop")
    inference, management, metrics, *grpc = free_ports(5)
    config = tmp_path / "config.properties"
    config.write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n"
    )
    try:
        lines = launcher.start(
            model_store=str(tmp_path / "store"),
            snapshot_file=str(config),
            no_config_snapshots=True,
            disable_token=True,
            models="noop=noop.mar",
        )
        wait_until(lambda: ready(inference), 30, "the model serves")
        launcher.stop()
        wait_until(lambda: not marked(surroundings), 15, "the server is gone")
        seen = []
        while (line := lines.get(timeout=10)) is not None:
            seen.append(line)
        assert any("worker is ready" in line for line in seen)
    finally:
        for pid in marked(surroundings):
            if pid != os.getpid():
                kill(pid)


def ready(port: int) -> bool:
    try:
        return client.request(port, "POST", "/predictions/noop", b"", None).status == 200
    except OSError:
        return False


def test_server_that_does_not_start_is_an_error(surroundings: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before it served"):
        launcher.start(model_store=str(tmp_path), snapshot_file=str(tmp_path / "missing"))
    assert marked(surroundings) == []
