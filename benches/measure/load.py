"""Runs the load generator against a server and accounts for the CPU of both."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from measure.machine import busy_seconds
from measure.processes import ServerProcess

# Cores used by processes that are not ours from which on a measurement is "noisy".
NOISY_CORES = 0.3

Cell = dict[str, float | int | str]


class Failed(Exception):
    """A server did not start, answered wrongly, or the load could not be run."""


@dataclass(frozen=True)
class Request:
    """What one workload sends to one server, and what is a right answer."""

    path: str
    body: Path
    content_type: str
    check: Callable[[bytes], bool]
    headers: dict[str, str] = field(default_factory=dict)


def ask(port: int, request: Request) -> bytes | None:
    """One request; the answer's body if it is right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": request.content_type, **request.headers}
    try:
        connection.request("POST", request.path, request.body.read_bytes(), headers)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 and request.check(body) else None
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until_right(server: ServerProcess, port: int, request: Request, seconds: float) -> bytes:
    """The first right answer.

    Raises:
        Failed: the server ended, or gave none in time.
    """
    while (body := ask(port, request)) is None:
        if not server.is_running():
            raise Failed("ended while it started: " + server.output())
        if time.monotonic() - server.started > seconds:
            raise Failed(f"no right answer within {seconds:g} s: " + server.output())
        time.sleep(0.01)
    return body


@dataclass(frozen=True)
class Loader:
    """The load generator and a server to load with it."""

    program: Path
    server: ServerProcess
    port: int
    request: Request
    # What every answer must be, to the byte: a right answer seen before.
    expected: Path
    threads: int = 1

    def run(self, connections: int, seconds: float, *more: str) -> Cell:
        """One load; the generator's report and what the server used meanwhile."""
        words = [
            *(str(self.program), "--address", f"127.0.0.1:{self.port}"),
            *("--path", self.request.path, "--body", str(self.request.body)),
            *("--content-type", self.request.content_type, "--expect-file", str(self.expected)),
            *("--connections", str(connections), "--seconds", f"{seconds:g}", "--warm-up", "0"),
            *("--threads", str(self.threads)),
            *more,
        ]
        for name, value in self.request.headers.items():
            words += ["--header", f"{name}: {value}"]
        before = busy_seconds(), self.server.cpu_seconds(), sum(os.times()[:2]), time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.server.ignored.add(process.pid)
        try:
            output, message = process.communicate(timeout=seconds + 120)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed("the load generator did not end") from None
        after = busy_seconds(), self.server.cpu_seconds(), sum(os.times()[:2]), time.monotonic()
        if process.returncode:
            raise Failed(f"the load generator: {message.strip()}\n{self.server.output()}")
        cell: Cell = json.loads(output)
        busy, used, ours, wall = (late - early for early, late in zip(before, after, strict=True))
        others = busy - used - ours - float(cell["own_cores"]) * seconds
        cell["server_cores"] = used / wall
        cell["other_cores"] = max(0.0, others) / wall
        cell["cpu_us"] = used / max(1, int(cell["requests"])) * 1e6
        return cell

    def run_quietly(self, connections: int, seconds: float, repeats: int) -> Cell:
        """As `run`, again if others disturbed it; the least disturbed run."""
        best = self.run(connections, seconds)
        for _ in range(repeats):
            if float(best["other_cores"]) < NOISY_CORES:
                break
            again = self.run(connections, seconds)
            best = min(best, again, key=lambda cell: float(cell["other_cores"]))
        return best
