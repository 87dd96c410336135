"""Starts and stops one real server, tserve or TorchServe, in a folder and on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import client
from harness.processes import MARK, command_line, kill, marked, wait_until

ROOT = Path(__file__).resolve().parents[2]
# Read from the environment by a server, so a developer's own must not leak into a test.
OWN_VARIABLES = ("LOG_LOCATION", "METRICS_LOCATION", "PYTHONPATH", "TEMP", "TMPDIR", "TMP")


def tserve_binary() -> Path:
    """The binary under test: `TSERVE_BIN`, else the newest of the installed and the built one."""
    named = os.environ.get("TSERVE_BIN")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    candidates = [
        Path(sys.executable).parent / "tserve",
        target / "debug" / "tserve",
        target / "release" / "tserve",
    ]
    found = [path for path in candidates if path.exists()]
    if not found:
        tried = "\n".join(map(str, candidates))
        raise FileNotFoundError(f"no tserve binary; tried TSERVE_BIN and\n{tried}")
    return max(found, key=lambda path: path.stat().st_mtime)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses at this moment."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


class Server:
    """One server process and everything it starts."""

    def __init__(
        self,
        folder: Path,
        *,
        command: Sequence[str] | None = None,
        models: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
        flags: Sequence[str] = ("--ncs", "--disable-token-auth", "--enable-model-api"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepares, but does not start, a server in a folder of its own; `store` is in there.

        `command` starts the server, by default tserve; `models` are loaded at start (archive file
        names, `name=file` or `all`); `config` is what config.properties holds beside the addresses.
        """
        self.folder = folder
        self.store = folder / "store"
        self.temporary = folder / "tmp"
        self.working = folder / "cwd"
        for made in (self.store, self.temporary, self.working):
            made.mkdir(parents=True, exist_ok=True)
        self.command = [str(word) for word in (command or [tserve_binary()])]
        self.models = list(models)
        self.config = dict(config or {})
        self.flags = list(flags)
        self.environment = dict(environment or {})
        self.mark = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None
        (self.port, self.management_port, self.metrics_port, *self.grpc_ports) = free_ports(5)

    # --- life ---------------------------------------------------------------------------------

    def start(self, *, ready: bool = True, seconds: float = 60, with_config: bool = True) -> Server:
        """Starts the server; with `ready`, waits until every model's workers have loaded.

        Without `with_config`, no config file is named, as for a start from a snapshot.
        """
        settings = {
            "inference_address": f"http://127.0.0.1:{self.port}",
            "management_address": f"http://127.0.0.1:{self.management_port}",
            "metrics_address": f"http://127.0.0.1:{self.metrics_port}",
            "grpc_inference_port": self.grpc_ports[0],
            "grpc_management_port": self.grpc_ports[1],
            "default_workers_per_model": 1,
            **self.config,
        }
        config = self.folder / "config.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        words = [*self.command, "--start", "--foreground", *self.flags]
        words += ["--model-store", str(self.store)]
        if with_config:
            words += ["--ts-config", str(config)]
        if self.models:
            words += ["--models", *self.models]
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TS_") and name not in OWN_VARIABLES
        }
        with (self.folder / "server.out").open("ab") as output:
            self.process = subprocess.Popen(
                words,
                cwd=self.working,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **inherited,
                    "TSERVE_PYTHON": sys.executable,
                    # One thread per worker: many workers on few cores only get in each other's way.
                    "OMP_NUM_THREADS": "1",
                    "TMPDIR": str(self.temporary),
                    "TEMP": str(self.temporary),
                    MARK: self.mark,
                    **self.environment,
                },
            )
        if ready:
            self.wait_until_serving(seconds)
        return self

    def client_environment(self) -> dict[str, str]:
        """What tells `tserve` as a client where this server is."""
        return {
            "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{self.management_port}",
            "TS_METRICS_ADDRESS": f"http://127.0.0.1:{self.metrics_port}",
        }

    def run_client(self, *words: str) -> str:
        """What `tserve` prints as a client of this server; it must succeed."""
        answer = subprocess.run(
            [tserve_binary(), *words],
            env={**os.environ, **self.client_environment()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert answer.returncode == 0, answer
        return answer.stdout

    def memory_mib(self) -> float:
        """What the server itself occupies."""
        assert self.process is not None
        with open(f"/proc/{self.process.pid}/status") as status:
            found = re.search(r"VmRSS:\s+(\d+) kB", status.read())
        assert found
        return int(found.group(1)) / 1024

    def open_files(self) -> int:
        """How many descriptors the server has."""
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_until_serving(self, seconds: float = 60) -> None:
        """Until the ports answer and every registered model has all its workers."""
        deadline = time.monotonic() + seconds
        last = "nothing answers"
        while time.monotonic() < deadline:
            assert self.is_running(), f"the server ended while it started\n{self.log()}"
            try:
                waiting = [name for name in self.model_names() if not self.is_loaded(name)]
                if not waiting and self.get("/ping").status == 200:
                    return
                last = f"not loaded: {waiting}"
            except (OSError, ValueError, LookupError, TypeError) as error:
                last = repr(error)
            time.sleep(0.05)
        raise AssertionError(f"not ready within {seconds} s: {last}\n{self.log()}")

    def is_running(self) -> bool:
        """Whether the process that was started still runs."""
        return self.process is not None and self.process.poll() is None

    def terminate(self, seconds: float = 20) -> int:
        """Asks the server to stop, as an operator does, and returns its exit status."""
        assert self.process is not None
        # The launcher of TorchServe does not pass the signal on: every process gets it.
        for pid in {self.process.pid, *marked(self.mark)} if self.is_foreign() else ():
            kill(pid, signal.SIGTERM)
        kill(self.process.pid, signal.SIGTERM)
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not stop within {seconds} s\n{self.log()}") from None

    def is_foreign(self) -> bool:
        """Whether this is not tserve."""
        return Path(self.command[0]).name != "tserve"

    def stop(self) -> None:
        """Ends the server in order; fails when it leaves a process behind."""
        if self.process is None:
            return
        try:
            if self.is_running():
                self.terminate()
            wait_until(lambda: not self.processes(), 10, "all processes of the server are gone")
        except AssertionError as error:
            left = [f"{pid}: {command_line(pid)}" for pid in self.processes()]
            raise AssertionError(f"{error}\nleft behind: {left}\n{self.log()}") from None
        finally:
            self.kill_everything()

    def kill_everything(self) -> None:
        """Ends, by force, every process that this server started."""
        for pid in self.processes():
            kill(pid)
        if self.process is not None:
            kill(self.process.pid)
            self.process.wait(timeout=10)

    def processes(self) -> list[int]:
        """The living processes of this server, itself included."""
        return marked(self.mark)

    def log(self, characters: int = 8000, without: Iterable[str] = ()) -> str:
        """The end of what the server printed, but for lines that hold one of some words."""
        try:
            text = (self.folder / "server.out").read_text(errors="replace")
        except OSError:
            return "(no output)"
        if without:
            lines = text.splitlines(keepends=True)
            text = "".join(line for line in lines if not any(word in line for word in without))
        return f"--- output of the server ---\n{text[-characters:]}"

    def log_file(self, name: str) -> str:
        """One of the log files, for example `model_log.log`."""
        file = self.working / "logs" / name
        return file.read_text(errors="replace") if file.exists() else ""

    # --- requests -----------------------------------------------------------------------------

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> client.Answer:
        """GET on the inference port."""
        return client.request(self.port, "GET", path, None, headers)

    def predict(
        self,
        model: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> client.Answer:
        """POST /predictions/MODEL."""
        return client.request(self.port, "POST", f"/predictions/{model}", body, headers, timeout)

    def predict_json(self, model: str, value: object, timeout: float = 30) -> client.Answer:
        """POST /predictions/MODEL with a JSON body."""
        headers = {"Content-Type": "application/json"}
        return self.predict(model, json.dumps(value).encode(), headers, timeout)

    def manage(self, method: str, path: str, timeout: float = 60) -> client.Answer:
        """A request on the management port."""
        return client.request(self.management_port, method, path, None, None, timeout)

    # --- facts --------------------------------------------------------------------------------

    def model_names(self) -> list[str]:
        """The registered models."""
        listed = json.loads(self.manage("GET", "/models", timeout=10).body)
        return [str(model["modelName"]) for model in listed["models"]]

    def describe(self, model: str) -> dict[str, object]:
        """What the server says about a model's default version."""
        answer = self.manage("GET", f"/models/{model}", timeout=10)
        described: dict[str, object] = json.loads(answer.body)[0]
        return described

    def workers(self, model: str) -> list[dict[str, object]]:
        """The workers of a model's default version, as described."""
        workers = self.describe(model)["workers"]
        assert isinstance(workers, list)
        return workers

    def worker_pids(self, model: str) -> list[int]:
        """Process ids of the workers that are up."""
        pids = [int(str(worker["pid"])) for worker in self.workers(model)]
        return [pid for pid in pids if pid > 0]

    def is_loaded(self, model: str) -> bool:
        """Whether the model has its workers and all of them are ready."""
        described = self.describe(model)
        workers = described["workers"]
        assert isinstance(workers, list)
        enough = len(workers) >= int(str(described["minWorkers"]))
        return enough and all(worker["status"] == "READY" for worker in workers)

    def wait_until_loaded(self, model: str, seconds: float = 30) -> None:
        """Waits until the model has all its workers (again)."""

        def is_loaded() -> bool:
            assert self.is_running(), self.log()
            try:
                return self.is_loaded(model)
            except (OSError, LookupError):  # not listening yet, or not registered yet
                return False

        wait_until(is_loaded, seconds, f"the workers of {model} are ready")
