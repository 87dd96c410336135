"""Runs the real `tserve` command, each test in folders of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY = "Model server started."
PATIENCE_SECONDS = 30.0

# Every listener on a port that the kernel chooses, so that tests do not meet each other.
ANY_PORTS = f"""\
inference_address=http://127.0.0.1:0
management_address=http://127.0.0.1:0
metrics_address=http://127.0.0.1:0
grpc_inference_port=0
grpc_management_port=0
disable_token_authorization=true
python={sys.executable}
"""


class Command:
    """The `tserve` command in a working folder and a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        binary = os.environ.get("TSERVE_BIN", str(ROOT / "target" / "debug" / "tserve"))
        if not Path(binary).is_file():
            pytest.fail(f"{binary} is not there: build it, or name another in TSERVE_BIN")
        self.binary = binary
        self.cwd = folder / "cwd"
        self.tmp = folder / "tmp"
        self.store = folder / "store"
        for each in (self.cwd, self.tmp, self.store):
            each.mkdir(parents=True)
        self.pid_file = self.tmp / ".model_server.pid"
        self.output = folder / "output.txt"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("TS_", "LOG"))
        }
        self.environment.update(TMPDIR=str(self.tmp), TEMP=str(self.tmp))
        self.runs = 0
        self.started: list[subprocess.Popen[bytes]] = []

    def config(self, text: str = "", name: str = "test.properties") -> str:
        """Write a config file below the working folder; returns its name."""
        (self.cwd / name).write_text(ANY_PORTS + text)
        return name

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end. Output goes to files, which a background server may keep open."""
        self.runs += 1
        out, err = (self.tmp / f"{self.runs}.{name}" for name in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(
                [self.binary, *words],
                cwd=self.cwd,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        return subprocess.CompletedProcess(
            done.args, done.returncode, out.read_text(), err.read_text()
        )

    def serve(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start in the foreground and wait until it serves."""
        with self.output.open("w") as output:
            server = subprocess.Popen(
                [self.binary, "--foreground", "--model-store", str(self.store), *words],
                cwd=self.cwd,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started.append(server)
        self.wait_until(
            lambda: READY in self.output.read_text() or server.poll() is not None, "serving"
        )
        assert server.poll() is None, self.output.read_text()
        return server

    @staticmethod
    def wait_until(holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds.

        Args:
            holds: asked again and again.
            what: what it is, for the failure.

        Raises:
            AssertionError: it did not hold in time.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS} s: {what}"
            time.sleep(0.02)

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Whether a process runs; one that only waits to be collected does not."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        return state != "Z"

    def pid(self) -> int:
        """The process that the pid file names."""
        return int(self.pid_file.read_text())

    def log(self, name: str = "ts_log.log") -> str:
        """A log file below the working folder."""
        return (self.cwd / "logs" / name).read_text()

    def end(self) -> None:
        """End whatever this test started and left running."""
        if self.pid_file.exists():
            self.run("--stop", "--foreground")
        for server in self.started:
            if server.poll() is None:
                server.send_signal(signal.SIGKILL)
            server.wait(PATIENCE_SECONDS)


@pytest.fixture
def tserve(tmp_path: Path) -> Iterator[Command]:
    """The command; what it leaves running ends with the test."""
    command = Command(tmp_path)
    yield command
    command.end()


@pytest.fixture
def another_tserve(tmp_path: Path) -> Iterator[Command]:
    """The same command with another temporary folder."""
    command = Command(tmp_path / "another")
    yield command
    command.end()
