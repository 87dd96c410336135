"""The worker process: what it says to the server, what a handler finds around itself, how it ends.

The link is a stand-in; everything else is the worker as the server starts it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).with_name("stand_in_worker.py")
PYTHON = Path(__file__).resolve().parents[2] / "python"

FACTS = """
import json, logging, os, sys
FACTS = {}
def handle(data, context):
    if data is None:
        FACTS.update(cwd=os.getcwd(), path=list(sys.path), argv=sys.argv, name=__name__,
                     pythonpath=os.environ["PYTHONPATH"].split(os.pathsep),
                     torch="torch" in sys.modules)
        return None
    return [FACTS] * len(data)
"""


class Worker:
    """A started worker, seen from the server."""

    def __init__(self, boot: Path, **environment: str) -> None:
        self.control, control = socket.socketpair()
        self.link, link = socket.socketpair()
        descriptors = control.fileno(), link.fileno(), os.dup(link.fileno()), os.dup(link.fileno())
        names = "control", "link", "arena", "wake"
        arguments = [
            part
            for name, descriptor in zip(names, descriptors, strict=True)
            for part in (f"--{name}-fd", str(descriptor))
        ]
        existing = os.environ.get("PYTHONPATH", "")
        search = os.pathsep.join(part for part in (str(PYTHON), existing) if part)
        # Files, not pipes: nobody reads while the worker runs, and it must not wait for that.
        self._output = (boot.parent / "stdout").open("w+"), (boot.parent / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_IN), *arguments],
            cwd=boot,
            env={**os.environ, "PYTHONPATH": search, **environment},
            pass_fds=descriptors,
            stdout=self._output[0],
            stderr=self._output[1],
        )
        for descriptor in descriptors[2:]:
            os.close(descriptor)
        control.close()
        link.close()
        self.control.settimeout(30)
        self.link.settimeout(30)
        self._control_lines = self.control.makefile("rb")
        self._link_lines = self.link.makefile("rb")

    def message(self) -> dict[str, Any]:
        return json.loads(self._control_lines.readline())

    def load(self, directory: Path, handler: str | None, **options: Any) -> dict[str, Any]:
        """Ask for a model; returns the outcome."""
        assert self.message()["type"] == "hello"
        request = {
            "type": "load",
            "model_name": "m",
            "model_dir": str(directory),
            "link_parent": None,
            "handler": handler,
            "gpu_id": None,
            "batch_size": 4,
            "envelope": None,
            "limit_max_image_pixels": True,
            "metrics_config": None,
            "key_of_a_newer_server": 1,
            **options,
        }
        self.control.sendall(json.dumps(request).encode() + b"\n")
        return self.message()

    def ask(self, *rows: dict[str, Any]) -> dict[str, Any]:
        self.link.sendall(json.dumps({"data": rows}).encode() + b"\n")
        line = self._link_lines.readline()
        return json.loads(line) if line else {}

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)
        ends = self._control_lines, self._link_lines, self.control, self.link, *self._output
        for end in ends:
            end.close()

    def end(self) -> tuple[int, str, str]:
        """Close the link; returns exit status, stdout and stderr."""
        self.link.shutdown(socket.SHUT_WR)
        status = self.process.wait(timeout=30)
        return status, *(self.output(stream) for stream in (0, 1))

    def output(self, stream: int) -> str:
        self._output[stream].seek(0)
        return self._output[stream].read()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers in an empty directory; none outlives the test."""
    started: list[Worker] = []

    def begin(**environment: str) -> Worker:
        boot = tmp_path / "boot"
        boot.mkdir(exist_ok=True)
        worker = Worker(boot, **environment)
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        worker.close()


def test_life_of_a_worker(start: Callable[..., Worker], archive: Callable[..., Path]) -> None:
    code = (
        "import logging\n"
        "def handle(data, context):\n"
        "    print('PRINTED')\n"
        "    logging.getLogger('mine').info('LOGGED')\n"
        "    logging.debug('HIDDEN')\n"
        "    return data and [row['body'] for row in data]\n"
    )
    worker = start()
    outcome = worker.load(archive({"echo.py": code}, {"handler": "echo.py"}), "echo.py")
    assert outcome == {"type": "loaded"}
    assert worker.ask({"body": "a"}, {"body": "b"}) == {
        "code": 200,
        "message": "Prediction success",
        "bodies": ["a", "b"],
        "last": True,
    }
    status, out, err = worker.end()
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert f"[PID]{worker.process.pid}" in lines
    assert "model_name: m, batchSize: 4" in lines
    assert "Torch worker started." in lines
    assert "PRINTED" in lines
    assert "LOGGED" in lines
    assert "HIDDEN" not in out
    assert "[METRICS]" not in out, "a line per batch would cost a quick handler most of its time"


def test_hello(start: Callable[..., Worker]) -> None:
    worker = start()
    hello = {"type": "hello", "pid": worker.process.pid, "version": "9.9.9"}
    assert worker.message() == hello
    worker.control.shutdown(socket.SHUT_RDWR)
    assert worker.end()[0] == 0, "a server that goes away before the load is no error"


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b'{"type": "dance"}\n', b'{"type": "load"}\n']
)
def test_message_that_makes_no_sense_ends_the_worker(
    start: Callable[..., Worker], line: bytes
) -> None:
    worker = start()
    worker.message()
    worker.control.sendall(line)
    status, _, err = worker.end()
    assert status == 1
    assert "ControlError" in err


def test_surroundings_of_a_handler(
    start: Callable[..., Worker], archive: Callable[..., Path], tmp_path: Path
) -> None:
    directory = archive({"sub/facts.py": FACTS}, {"handler": "facts:handle"})
    links = tmp_path / "links"
    links.mkdir()
    (links / "m").symlink_to(directory)
    worker = start()
    outcome = worker.load(links / "m", "sub/facts.py:handle", link_parent=str(links))
    assert outcome == {"type": "loaded"}
    facts = json.loads(worker.ask({})["bodies"][0])
    assert facts["cwd"] == str(directory)
    assert facts["name"] == "facts"
    assert facts["torch"] is False
    assert facts["argv"][0].endswith("ts/model_service_worker.py")
    assert facts["argv"][1] == "--control-fd"
    expected = [str(directory / "sub"), str(PYTHON), str(directory), str(links)]
    assert [entry for entry in facts["pythonpath"] if entry in expected] == expected
    assert [entry for entry in facts["path"] if entry in [*expected, ""]] == [*expected, ""]
    assert facts["path"].index(str(links)) < min(
        index for index, entry in enumerate(facts["path"]) if entry.endswith(".zip")
    ), "the archive comes before the standard library"
    assert str(tmp_path / "boot") not in facts["path"]
    assert sorted(os.listdir(directory)) == ["MAR-INF", "sub"]
    assert worker.end()[0] == 0


def test_archive_cannot_shadow_what_the_worker_needs(
    start: Callable[..., Worker], archive: Callable[..., Path]
) -> None:
    bad = "raise RuntimeError('the archive is imported in place of the library')\n"
    names = ["yaml", "json", "logging", "argparse", "socket", "tserve_worker", "ts", "traceback"]
    files = {f"{name}.py": bad for name in names}
    code = "import ts.context\ndef handle(data, context): return data and ['ok'] * len(data)\n"
    worker = start()
    assert worker.load(archive({**files, "h.py": code}), "h.py") == {"type": "loaded"}
    assert worker.ask({})["bodies"] == ["ok"]
    assert worker.end()[0] == 0


FAILURES = {
    "import": ("import surely_absent\n", "ModuleNotFoundError", 500, 1),
    "syntax": ("x = 1\ndef handle(:\n", "SyntaxError", 500, 2),
    "value": ("x = 1\n\nraise ValueError('broken')\n", "ValueError", 500, 3),
    "cuda": ("raise RuntimeError('CUDA out of memory')\n", "RuntimeError", 507, 1),
    "memory": (
        "def handle(data, context):\n    raise MemoryError('none')\n",
        "MemoryError",
        507,
        2,
    ),
    "exit": ("import sys\nsys.exit(0)\n", "SystemExit", 500, 2),
    "interrupt": ("raise KeyboardInterrupt\n", "KeyboardInterrupt", 500, 1),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failed_load_is_reported_whole(
    start: Callable[..., Worker], archive: Callable[..., Path], kind: str
) -> None:
    code, exception, status, line = FAILURES[kind]
    directory = archive({"bad.py": code})
    worker = start()
    outcome = worker.load(directory, "bad.py")
    assert outcome["type"] == "failed"
    assert outcome["exception"] == exception
    assert outcome["code"] == status
    assert outcome["file"] == str(directory / "bad.py")
    assert outcome["line"] == line
    assert "Traceback (most recent call last):" in outcome["traceback"]
    assert exception in outcome["traceback"]
    exit_status, out, err = worker.end()
    assert exit_status == 1
    assert outcome["traceback"] in err
    assert "Backend worker process died." in out


def test_failure_outside_the_archive_has_no_line(
    start: Callable[..., Worker], archive: Callable[..., Path]
) -> None:
    outcome = start().load(archive({}), "absent.py")
    assert outcome["exception"] == "HandlerNotFoundError"
    assert outcome["file"] is None
    assert outcome["line"] is None


def test_endless_traceback_fits_a_message(
    start: Callable[..., Worker], archive: Callable[..., Path]
) -> None:
    code = "class E(Exception): pass\nraise E('x' * 1_000_000)\n"
    outcome = start().load(archive({"bad.py": code}), "bad.py")
    assert len(json.dumps(outcome)) < 200_000
    assert outcome["exception"] == "E"


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import os; os._exit(9)", 9),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_handler_may_end_its_worker(
    start: Callable[..., Worker], archive: Callable[..., Path], statement: str, status: int
) -> None:
    code = f"def handle(data, context):\n    if data:\n        {statement}\n"
    worker = start()
    assert worker.load(archive({"h.py": code}), "h.py") == {"type": "loaded"}
    assert worker.ask({}) == {}, "the batch gets no answer from a worker that is gone"
    code_seen = worker.end()[0]
    assert code_seen == status or (status == 130 and code_seen == -2)


def test_prints_gigabytes_without_harm(
    start: Callable[..., Worker], archive: Callable[..., Path]
) -> None:
    code = (
        "def handle(data, context):\n"
        "    if data: print('x' * 65536, '\\ud800')\n"
        "    return data and ['ok']\n"
    )
    worker = start(PYTHONIOENCODING="utf-8")
    worker.load(archive({"h.py": code}), "h.py")
    for _ in range(50):
        assert worker.ask({})["bodies"] == ["ok"]
    status, out, _ = worker.end()
    assert status == 0
    assert sum("\\ud800" in line for line in out.splitlines()) == 50


def test_arguments_are_required() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tserve_worker"],
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "--control-fd" in done.stderr
