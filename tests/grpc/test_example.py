"""The example client, as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from conftest import ServerFactory
from harness.server import ROOT, Server

SCRIPT = ROOT / "examples" / "grpc" / "torchserve_grpc_client.py"


def run(server: Server, folder: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    ports = zip(("--inference", "--management"), server.grpc_ports, strict=True)
    addresses = [word for flag, port in ports for word in (flag, f"127.0.0.1:{port}")]
    environment = {**os.environ, "no_proxy": "*", "PYTHONPATH": str(folder or "")}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *addresses, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_register_infer_unregister(
    start_server: ServerFactory, stubs: SimpleNamespace, tmp_path: Path
) -> None:
    server = start_server("rpc", models=[])
    file = tmp_path / "file"
    file.write_bytes(b"\x01\x02")
    done = run(server, stubs.folder, "register", "rpc")
    assert done.stdout == 'Model "rpc" Version: 1.0 registered with 1 initial workers\n', done
    for flags in ([], ["--stream"]):
        done = run(server, stubs.folder, "infer", "rpc", str(file), *flags)
        assert '"0102"' in done.stdout, done
    done = run(server, stubs.folder, "unregister", "rpc")
    assert done.stdout == 'Model "rpc" unregistered\n', done
    done = run(server, stubs.folder, "unregister", "rpc")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "NOT_FOUND: Model not found: rpc")
    assert "make the stubs first" in run(server, None, "infer", "rpc", str(file)).stderr
