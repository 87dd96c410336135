"""Finds the processes that a server started, so that only those are ever signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

MARK = "TSERVE_TEST_MARK"


def marked(mark: str) -> list[int]:
    """The living processes that inherited this mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                environment = Path("/proc", entry, "environ").read_bytes()
                if wanted in environment.split(b"\0") and is_alive(int(entry)):
                    found.append(int(entry))
    return found


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not just waiting to be reaped."""
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def command_line(pid: int) -> str:
    """The process's words, for messages."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "(gone)"


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signals a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Polls until the condition holds; fails, saying what was waited for, when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
