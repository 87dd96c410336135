"""`tserve top`: one table for scripts, a live screen for people."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time

from conftest import ServerFactory
from harness.server import tserve_binary


def test_top_prints_one_table_for_scripts(start_server: ServerFactory) -> None:
    server = start_server("noop")
    for words in (["top"], ["top", "--once", "--json"]):
        shown = server.run_client(*words)
        if "--json" in words:
            (row,) = json.loads(shown)
            assert (row["modelName"], row["pendingRequests"]) == ("noop", 0)
            assert row["workers"][0]["status"] == "READY"
        else:
            lines = [line.split() for line in shown.splitlines()]
            assert lines[0][:4] == ["MODEL", "VERSION", "WORKERS", "QUEUE"]
            assert lines[1][:4] == ["noop", "1.0", "1/1", "0"]
            assert lines[3][0] == "WORKER"
            assert lines[4][1:4] == ["noop", "1.0", "READY"]


LAST_LINE = "q leaves"


class Terminal:
    """A terminal of 30 lines and 120 columns with `tserve` in it."""

    def __init__(self, *words: str, environment: dict[str, str]) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen(
            [tserve_binary(), *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", **environment},
            start_new_session=True,
        )
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)
        os.close(self.ours)
        os.close(self.theirs)

    def next_page(self, seconds: float = 20) -> str:
        """What is drawn until the last line of a page."""
        end = time.monotonic() + seconds
        while LAST_LINE not in self.shown:
            assert time.monotonic() < end, f"no whole page in {self.shown!r}"
            if select.select([self.ours], [], [], 0.2)[0]:
                self.shown += os.read(self.ours, 65536).decode(errors="replace")
        page, _, self.shown = self.shown.partition(LAST_LINE)
        return page

    def press(self, key: bytes) -> None:
        """Types."""
        os.write(self.ours, key)


def test_top_draws_again_and_again_until_q(start_server: ServerFactory) -> None:
    server = start_server("noop")
    with Terminal("top", "--interval", "1", environment=server.client_environment()) as terminal:
        assert "noop" in terminal.next_page()
        server.manage("DELETE", "/models/noop")
        terminal.next_page()  # may have been under way
        assert "noop" not in terminal.next_page()
        server.stop()
        terminal.next_page()
        assert "no server answers" in terminal.next_page()
        terminal.press(b"q")
        assert terminal.process.wait(timeout=10) == 0
        assert termios.tcgetattr(terminal.theirs) == terminal.before, "the terminal is as before"
