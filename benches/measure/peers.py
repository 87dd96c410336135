"""How each server is started and asked."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from measure.load import Request
from measure.machine import free_ports
from measure.workloads import ALL, BENCHES, BY_NAME, RAW, Prepared, Workload

APPLICATIONS = BENCHES / "peers"


@dataclass(frozen=True)
class Start:
    """A command line that is ready to run."""

    words: list[str]
    environment: dict[str, str]
    port: int
    metrics_port: int = 0  # of servers with TorchServe's APIs


class Peer:
    """A server in an environment of its own, with a small application for the workloads."""

    distribution = ""
    application = ""
    path = "/"
    workloads: tuple[str, ...] = tuple(workload.name for workload in ALL)
    ready_seconds = 90.0
    grace_seconds = 6.0

    def __init__(self, name: str, python: Path) -> None:
        self.name = name
        self.python = python

    def missing(self) -> str | None:
        """Why it cannot take part, if so."""
        if not self.python.exists():
            return f"{self.distribution} is not installed (make bench-peers)"
        return None

    def version(self) -> str:
        code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
        words = [str(self.python), "-c", code, self.distribution]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip() or "?"

    def start(self, prepared: Prepared, workload: Workload, folder: Path) -> Start:
        """Writes what it needs into `folder`, its working directory."""
        (port,) = free_ports(1)
        words = [str(self.python), str(APPLICATIONS / self.application), "--port", str(port)]
        prepared.body(workload)
        return Start(words, self.environment(prepared, workload, folder), port)

    def environment(self, prepared: Prepared, workload: Workload, folder: Path) -> dict[str, str]:
        """Nothing of the caller's that changes Python's speed."""
        path = f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin"
        return {
            "PATH": path,
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "TMPDIR": str(folder),
            "TEMP": str(folder),
            "PYTHONPATH": str(APPLICATIONS),
            "BENCH_BUILD": str(prepared.folder),
            "BENCH_WORKLOAD": workload.name,
            **{name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ},
        }

    def request(self, prepared: Prepared, workload: Workload) -> Request:
        return Request(
            self.path,
            prepared.body(workload),
            workload.content_type,
            lambda body: prepared.is_right(workload, body),
        )


class Compatible(Peer):
    """Any server with TorchServe's command line; all of them get the same archives."""

    distribution = "torchserve"
    workloads = tuple(BY_NAME)

    def __init__(
        self,
        name: str,
        command: str,
        settings: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are lines of its config.properties, `variables` of its environment."""
        self.command = shlex.split(command)
        self.settings = settings or {}
        self.variables = variables or {}
        self.program = Path(self.command[0])
        super().__init__(name, self.program.parent / "python3")

    def missing(self) -> str | None:
        if not self.program.exists():
            return f"{self.program} does not exist"
        return None

    def start(self, prepared: Prepared, workload: Workload, folder: Path) -> Start:
        archive = prepared.archive(workload)
        return self.serve(prepared, archive.parent, [f"{workload.name}={archive.name}"], folder)

    def serve(self, prepared: Prepared, store: Path, models: list[str], folder: Path) -> Start:
        """A start with these models of that store, or none."""
        (port, management, metrics, grpc, grpc_management, workers) = free_ports(6)
        config = folder / "config.properties"
        config.write_text(
            f"inference_address=http://127.0.0.1:{port}\n"
            f"management_address=http://127.0.0.1:{management}\n"
            f"metrics_address=http://127.0.0.1:{metrics}\n"
            f"grpc_inference_port={grpc}\n"
            f"grpc_management_port={grpc_management}\n"
            f"initial_worker_port={workers}\n"
            "default_workers_per_model=1\n"
            "job_queue_size=1000\n"
            + "".join(f"{key}={value}\n" for key, value in self.settings.items())
        )
        words = [
            *(*self.command, "--start", "--foreground", "--ncs", "--disable-token-auth"),
            *("--enable-model-api", "--model-store", str(store), "--ts-config", str(config)),
            *(("--models", *models) if models else ()),
        ]
        environment = self.environment(prepared, BY_NAME["noop"], folder)
        environment["PYTHONPATH"] = ""
        if not self.python.exists():
            # A binary outside an environment: its workers run in ours.
            environment["TSERVE_PYTHON"] = sys.executable
            environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        return Start(words, {**environment, **self.variables}, port, metrics)

    def request(self, prepared: Prepared, workload: Workload) -> Request:
        request = super().request(prepared, workload)
        path = f"/predictions/{workload.name}"
        return Request(path, request.body, request.content_type, request.check)

    def version(self) -> str:
        words = [*self.command, "--version"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        return (done.stdout.split() or ["?"])[-1]


class TorchServe(Compatible):
    """The real one, with its default settings and logs, because that is what people run."""

    def missing(self) -> str | None:
        if shutil.which("java") is None:
            return "needs Java 11 or newer"
        return super().missing() and "torchserve is not installed (make reference)"

    def version(self) -> str:
        return Peer.version(self)


class Mosec(Peer):
    """mosec with raw bodies, and JSON for the MLP."""

    distribution, application, path = "mosec", "mosec_app.py", "/inference"
    grace_seconds = 1.5  # after load it does not leave on SIGTERM within 8 s

    def start(self, prepared: Prepared, workload: Workload, folder: Path) -> Start:
        start = super().start(prepared, workload, folder)
        words = [
            *(*start.words, "--address", "127.0.0.1", "--log-level", "warning"),
            *("--path", str(folder / "ipc"), "--timeout", "30000"),
        ]
        return Start(words, start.environment, start.port)


class Floor(Peer):
    """A server in C that reads the body and says `ok`: what nothing on this machine can beat."""

    workloads = ("noop", "tensor")

    def __init__(self, name: str, folder: Path) -> None:
        self.program = folder / "http_ok"
        super().__init__(name, self.program)

    def missing(self) -> str | None:
        source = BENCHES / "floor" / "http_ok.c"
        if self.program.exists() and self.program.stat().st_mtime > source.stat().st_mtime:
            return None
        if shutil.which("cc") is None:
            return "there is no C compiler"
        self.program.parent.mkdir(parents=True, exist_ok=True)
        words = ["cc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", str(self.program), str(source)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        return f"cc: {done.stderr}" if done.returncode else None

    def version(self) -> str:
        return ""

    def start(self, prepared: Prepared, workload: Workload, folder: Path) -> Start:
        (port,) = free_ports(1)
        prepared.body(workload)
        environment = self.environment(prepared, workload, folder)
        return Start([str(self.program), str(port)], environment, port)

    def request(self, prepared: Prepared, workload: Workload) -> Request:
        body = prepared.body(workload)
        return Request("/", body, workload.content_type, lambda answer: answer == b"ok")


class Triton(Peer):
    """tritonserver, from the PyTriton wheel, with its own Python backend."""

    distribution, path = "nvidia-pytriton", "/v2/models/bench/infer"
    # Input type and shape, output type and shape.
    TENSORS: ClassVar = {
        "noop": ("UINT8", "1024", "UINT8", "2"),
        "noopb": ("UINT8", "1024", "UINT8", "2"),
        "mlp": ("FP32", "784", "INT64", "1"),
        "tensor": ("FP32", "512, 512", "FP32", "512"),
    }

    def start(self, prepared: Prepared, workload: Workload, folder: Path) -> Start:
        packages = next(self.python.parent.parent.glob("lib/python3*/site-packages"))
        server = packages / "pytriton" / "tritonserver"
        self._backend(server, packages.parent.name.removeprefix("python"), folder)
        self._model(workload, folder)
        prepared.body(workload)
        (port,) = free_ports(1)
        words = [
            str(server / "bin" / "tritonserver"),
            *("--model-repository", str(folder / "repository")),
            *("--backend-directory", str(folder / "backends")),
            *("--cache-directory", str(server / "caches")),
            *("--http-address", "127.0.0.1", "--http-port", str(port)),
            *("--allow-grpc", "false", "--allow-metrics", "false", "--log-info", "false"),
            *("--exit-timeout-secs", "2"),
            *("--backend-config", f"python,shm-region-prefix-name=bench{os.getpid()}"),
        ]
        environment = self.environment(prepared, workload, folder)
        # Its Python stub must find the libpython that belongs to the environment.
        base = self.python.resolve().parents[1]
        libraries = [base / "lib", packages / "nvidia_pytriton.libs"]
        environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
        return Start(words, environment, port)

    @staticmethod
    def _backend(server: Path, python: str, folder: Path) -> None:
        """The wheel's backend directory, with the stub for this Python."""
        backend = folder / "backends" / "python"
        backend.mkdir(parents=True, exist_ok=True)
        theirs = server / "backends" / "python"
        for file in (
            theirs / "libtriton_python.so",
            theirs / "triton_python_backend_utils.py",
            server / "python_backend_stubs" / python / "triton_python_backend_stub",
        ):
            shutil.copy(file, backend)

    def _model(self, workload: Workload, folder: Path) -> None:
        """The stub's interpreter imports from the model's own folder and nothing else."""
        model = folder / "repository" / "bench"
        (model / "1").mkdir(parents=True, exist_ok=True)
        shutil.copy(APPLICATIONS / "triton_model.py", model / "1" / "model.py")
        shutil.copy(APPLICATIONS / "work.py", model / "1" / "work.py")
        kind, shape, answer_kind, answer_shape = self.TENSORS[workload.name]
        batches = workload.batch_size > 1
        lines = [
            'name: "bench"',
            'backend: "python"',
            f"max_batch_size: {workload.batch_size if batches else 0}",
            f'input [{{ name: "x" data_type: TYPE_{kind} dims: [{shape}] }}]',
            f'output [{{ name: "y" data_type: TYPE_{answer_kind} dims: [{answer_shape}] }}]',
            "instance_group [{ count: 1 kind: KIND_CPU }]",
        ]
        if batches:
            lines.append("dynamic_batching { max_queue_delay_microseconds: 2000 }")
        (model / "config.pbtxt").write_text("\n".join(lines) + "\n")

    def request(self, prepared: Prepared, workload: Workload) -> Request:
        body = prepared.body(workload)
        if workload.name == "mlp":
            expected = [prepared.argmax()]
            return Request(
                self.path,
                prepared.folder / "mlp.v2.json",
                workload.content_type,
                lambda answer: bool(json.loads(answer)["outputs"][0]["data"] == expected),
            )
        # A raw request: the whole body is the one tensor. Its answers begin with a JSON header.
        is_right = prepared.are_means if workload.name == "tensor" else _ends_with_ok
        headers = {"Inference-Header-Content-Length": "0"}
        return Request(self.path, body, RAW, is_right, headers)


def _ends_with_ok(answer: bytes) -> bool:
    return answer.endswith(b"ok")
