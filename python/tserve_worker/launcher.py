"""``ts.launcher``: start, stop and fill a server from a test or a script."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from tserve_worker.errors import MissingPackageError

Lines = Queue["str | None"]

QUEUE_LINES = 1000
"""What is printed while nobody reads the queue is kept up to here; later lines are lost."""


def start(
    model_store: str | None = None,
    snapshot_file: str | None = None,
    no_config_snapshots: bool = False,
    plugin_folder: str | None = None,
    disable_token: bool = False,
    models: str | None = None,
    enable_model_api: bool = False,
) -> Lines:
    """Start a server after stopping the one that runs, and wait until it serves.

    Args:
        model_store: folder of the archives.
        snapshot_file: config file, or a snapshot.
        no_config_snapshots: write no snapshots.
        plugin_folder: passed on; tserve has no plug-ins and says so.
        disable_token: ask clients for no tokens.
        models: what to load at start, as one argument.
        enable_model_api: let clients register and remove models.

    Returns:
        the lines that the server prints from now on, then None.

    Raises:
        RuntimeError: the server ended instead.
    """
    stop()
    command = [_executable(), "--start", "--foreground"]
    for flag, value in (
        ("--model-store", model_store),
        ("--ts-config", snapshot_file),
        ("--plugins-path", plugin_folder),
        ("--models", models),
    ):
        if value:
            command += [flag, str(value)]
    for flag, is_wanted in (
        ("--no-config-snapshots", no_config_snapshots),
        ("--disable-token-auth", disable_token),
        ("--enable-model-api", enable_model_api),
    ):
        if is_wanted:
            command.append(flag)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if process.stdout is None:
        raise RuntimeError("the server's output is not there to be read")
    output = TextIOWrapper(process.stdout, errors="replace")

    def end() -> int:
        output.close()
        return process.wait()

    for line in output:
        print(line.strip())
        if "Model server started" in line:
            break
    else:
        raise RuntimeError(f"the server ended with status {end()} before it served")
    tee = Tee(output, end)
    tee.start()
    PrintTillTheEnd(tee.queue1).start()
    return tee.queue2


def stop(wait: bool = True) -> None:
    """Stop the server that runs on this machine, if one does."""
    command = [_executable(), "--stop"]
    if wait:
        command.append("--foreground")
    subprocess.run(command, check=False)


def register_model_with_params(params: Any) -> Any:
    """Register a model with any parameters of ``POST /models``; returns the response.

    Raises:
        MissingPackageError: the package requests is not installed.
    """
    try:
        import requests
    except ImportError as exc:
        raise MissingPackageError("ts.launcher.register_model", "requests") from exc
    return requests.post("http://localhost:8081/models", params=params)


def register_model(model_name: str, url: str) -> Any:
    """Register a model with one worker and wait for it; returns the response."""
    return register_model_with_params(
        (
            ("model_name", model_name),
            ("url", url),
            ("initial_workers", "1"),
            ("synchronous", "true"),
        )
    )


class Tee(threading.Thread):
    """Copies lines into two queues, and None when there are no more."""

    def __init__(self, reader: Iterable[str], at_end: Callable[[], object] | None = None) -> None:
        """Read from here once started, and call ``at_end`` when there is no more."""
        super().__init__(daemon=True)
        self.reader = reader
        self._at_end = at_end
        self.queue1: Lines = Queue(maxsize=QUEUE_LINES)
        self.queue2: Lines = Queue(maxsize=QUEUE_LINES)

    def run(self) -> None:
        """Copy until the end."""
        for line in self.reader:
            for queue in (self.queue1, self.queue2):
                with contextlib.suppress(Full):
                    queue.put_nowait(line)
        if self._at_end is not None:
            self._at_end()
        for queue in (self.queue1, self.queue2):
            # A full queue has no reader: the end matters more than its oldest line.
            if queue.full():
                with contextlib.suppress(Empty):
                    queue.get_nowait()
            queue.put_nowait(None)


class PrintTillTheEnd(threading.Thread):
    """Prints what a queue holds, up to None."""

    def __init__(self, queue: Lines) -> None:
        """Print from here once started."""
        super().__init__(daemon=True)
        self._queue = queue

    def run(self) -> None:
        """Print until the end."""
        while (line := self._queue.get()) is not None:
            print(line.strip())


def _executable() -> str:
    """Find the server beside this interpreter, where pip puts it, or on the path."""
    beside = Path(sys.executable).with_name("tserve")
    return str(beside) if beside.exists() else shutil.which("tserve") or "tserve"
