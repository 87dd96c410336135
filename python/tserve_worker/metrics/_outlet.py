"""Where the values of metrics go: in a worker, to the server over the control socket.

The values of a batch travel together, after its answers, so that reporting costs the handler no
system call. What other threads report between two batches goes at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

MARK = "[METRICS]"

MOST_LINES = 10_000
"""Lines that are kept for one batch; more are dropped, since nobody can want them."""

MOST_CHARACTERS = 128 * 1024
"""Length of the lines of one message; the server takes no more than 1 MiB at a time."""

LONGEST_LINE = 16 * 1024
"""Longer lines are dropped: the ids of thousands of requests are the most there can be."""


class Outlet:
    """The way to the server."""

    def __init__(self, send: Callable[[list[str]], None]) -> None:
        """Send lists of lines, without their mark, through ``send``."""
        self._send = send
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._is_gathering = False

    def gather(self) -> None:
        """Keep what is reported until the next ``flush``."""
        self._is_gathering = True

    def put(self, line: str) -> bool:
        """Take a line; False in a process that a handler has forked, which has no way."""
        if os.getpid() != self._process:
            return False
        with self._lock:
            if len(line) <= LONGEST_LINE and len(self._lines) < MOST_LINES:
                self._lines.append(line.removeprefix(MARK))
        if not self._is_gathering:
            self.flush()
        return True

    def flush(self) -> None:
        """Send what was reported."""
        self._is_gathering = False
        if not self._lines:
            return
        with self._lock:
            lines, self._lines = self._lines, []
            start, size = 0, 0
            for place, line in enumerate(lines):
                # JSON may write a character as six.
                size += 6 * len(line)
                if size > 6 * MOST_CHARACTERS and place > start:
                    self._send(lines[start:place])
                    start, size = place, 6 * len(line)
            self._send(lines[start:])


_installed: Outlet | None = None


def install(outlet: Outlet | None) -> None:
    """Make this the outlet of the process; None for the log."""
    global _installed
    _installed = outlet


def gather() -> None:
    """Keep what is reported until the next ``flush``: a batch begins."""
    if _installed is not None:
        _installed.gather()


def flush() -> None:
    """Send what was reported."""
    if _installed is not None:
        _installed.flush()


def send(line: str) -> bool:
    """Send a line, mark included; False when there is no outlet."""
    return _installed is not None and _installed.put(line)
