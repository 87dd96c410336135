"""Starts a server, accounts for everything it started, and stops all of it and nothing else.

This process becomes a child subreaper: a helper whose parent exits is handed to us and stays in
the tree that is measured and stopped.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Memory:
    """Proportional set size, over all processes of a server."""

    pss_mib: float
    processes: int


def _stat(pid: int) -> tuple[int, int, str] | None:
    """Parent, CPU ticks and state of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), fields[0]


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(stat[0], []).append(int(entry.name))
    return children


def kilobytes(pid: int, file: str, field: str) -> int:
    """A size that the kernel tells of a process, for example `status`, `VmRSS`; 0 when gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


class ServerProcess:
    """One started server."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        """Starts it in `folder`; what it prints goes to `log`."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.log = log
        self._others = set(_children().get(os.getpid(), []))
        with log.open("wb") as output:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                words,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Children that we start later, such as the load generator, are not the server's.
        self.ignored: set[int] = set()

    def pids(self) -> set[int]:
        """The server, its descendants, and orphans of theirs that were handed to us."""
        children = _children()
        todo = [pid for pid in children.get(os.getpid(), []) if pid not in self._others]
        found: set[int] = set()
        while todo:
            pid = todo.pop()
            if pid not in found and pid not in self.ignored:
                found.add(pid)
                todo += children.get(pid, [])
        return found

    def is_running(self) -> bool:
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """CPU time of all its living processes since they started."""
        return sum(stat[1] for pid in self.pids() if (stat := _stat(pid))) / TICKS

    def memory(self) -> Memory:
        sizes = [kilobytes(pid, "smaps_rollup", "Pss") for pid in self.pids()]
        return Memory(sum(sizes) / 1024, sum(1 for size in sizes if size))

    def output(self, characters: int = 1500) -> str:
        """The end of what it printed."""
        try:
            return self.log.read_bytes()[-characters:].decode(errors="replace")
        except OSError:
            return ""

    def stop(self, grace: float = 6) -> bool:
        """Asks it to end, then insists; whether nothing of it is left."""
        if self.is_running():
            self.process.terminate()
        if self._is_gone(grace):
            return True
        for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
            for pid in self.pids():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            if self._is_gone(seconds):
                return True
        return False

    def _is_gone(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.process.poll()
            self._reap_orphans()
            if not any((stat := _stat(pid)) and stat[2] != "Z" for pid in self.pids()):
                return True
            time.sleep(0.05)
        return False

    def _reap_orphans(self) -> None:
        for pid in self.pids() - {self.process.pid}:
            try:
                os.waitpid(pid, os.WNOHANG)
            except (ChildProcessError, OSError):
                continue
