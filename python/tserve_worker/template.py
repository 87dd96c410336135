"""The template of a model's workers: ``python -m tserve_worker.template``, started by the server.

It imports the handler, or loads the whole model, once; every worker is then a fork of it, which
starts in milliseconds and shares the memory that nobody writes to. It serves nothing itself. See
docs/worker-template.md for what may be in a process that is forked, and what may not.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from tserve_worker import _ts_names

# Also in processes that a handler starts with multiprocessing, which run this file again.
_ts_names.install()

logger = logging.getLogger("tserve_worker")

DESCRIPTORS = 6
"""What a fork gets: link, arena, wake-up, control socket, stdout, stderr."""


class Template:
    """Forks workers when the server asks, and tells it how they end."""

    def __init__(self, server: socket.socket) -> None:
        """Talk to the server over a socket of packets, one JSON object each."""
        self._server = server
        self._children: dict[int, int] = {}  # process by pidfd

    def say(self, kind: str, descriptors: Sequence[int] = (), **values: Any) -> None:
        """Send one message."""
        message = json.dumps({"type": kind, **values}).encode()
        socket.send_fds(self._server, [message], list(descriptors))

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Wait for a message, and for workers that end meanwhile.

        Returns:
            (message, descriptors); None when the server is gone.
        """
        while True:
            server = self._server.fileno()
            ready, _, _ = select.select([server, *self._children], [], [])
            for pidfd in ready:
                if pidfd != server:
                    self._report(pidfd)
            if server in ready:
                data, descriptors, _, _ = socket.recv_fds(self._server, 65536, DESCRIPTORS)
                return (json.loads(data), descriptors) if data else None

    def fork(self, descriptors: list[int]) -> bool:
        """Fork a worker.

        Returns:
            whether this is the worker.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._server.close()
            for pidfd in self._children:
                os.close(pidfd)
            os.setpgid(0, 0)
            return True
        # By both, because neither knows who comes first.
        os.setpgid(pid, pid)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        for descriptor in descriptors:
            os.close(descriptor)
        self.say("forked", [pidfd], pid=pid)
        return False

    def _report(self, pidfd: int) -> None:
        """Collect a worker that has ended."""
        pid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self.say("exited", pid=pid, status=status)


def obstacles() -> list[str]:
    """Say why this process must not be forked; nothing if it may be."""
    found = [
        f"the thread {thread.name!r} is running"
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
    ]
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found.append("CUDA is initialised")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Load, then fork until the server is gone; or, in a fork, be a worker.

    Returns:
        the exit status of template or worker.
    """
    from tserve_worker import _environment, _loader
    from tserve_worker.__main__ import Preloaded, work
    from tserve_worker._control import LoadRequest

    parser = argparse.ArgumentParser(prog="python -m tserve_worker.template", description=__doc__)
    parser.add_argument("--control-fd", type=int, required=True, metavar="N")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.control_fd, False)
    _environment.leave_boot_directory()
    _environment.start_logging()
    template = Template(socket.socket(fileno=options.control_fd))
    received = template.receive()
    if received is None:
        return 0
    request = LoadRequest.from_message(received[0])
    loads_model = received[0].get("depth") == "model"
    threads = hold_threads() if loads_model else None
    _environment.enter_model(request)
    sys.argv = _environment.worker_arguments([])
    model = None
    if loads_model:
        model = _loader.load_model(request)
    else:
        _loader.import_handler(request.handler, request.model_dir)
    gc.collect()
    # What is there by now is never looked at again: looking would unshare its pages.
    gc.freeze()
    in_the_way = obstacles()
    if in_the_way:
        template.say("refused", reason="; ".join(in_the_way))
        return 0
    template.say("ready", threads=len(os.listdir("/proc/self/task")))
    while (received := template.receive()) is not None:
        if template.fork(received[1]):
            become_worker(received[1], threads, reseed=not loads_model)
            link, arena, wake, control, *_ = received[1]
            return work((link, arena, wake, control), Preloaded(model))
    return 0


def become_worker(descriptors: list[int], threads: str | None, *, reseed: bool) -> None:
    """Undo in a fork what only the template needed, and take the worker's own output."""
    signal.set_wakeup_fd(-1)
    for number, descriptor in zip((1, 2), descriptors[4:], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    torch = sys.modules.get("torch")
    if threads is not None:
        release_threads(threads, torch)
    numpy = sys.modules.get("numpy")
    if reseed and numpy is not None:
        # Drawn from the system when numpy was imported: all workers would draw the same numbers.
        numpy.random.seed()


def hold_threads() -> str:
    """Keep OpenMP from starting threads, which no fork would have; returns what was set before."""
    before = os.environ.get("OMP_NUM_THREADS", "")
    os.environ["OMP_NUM_THREADS"] = "1"
    return before


def release_threads(before: str, torch: Any) -> None:
    """Let torch use as many threads as it would have used without a template."""
    if before:
        os.environ["OMP_NUM_THREADS"] = before
    else:
        del os.environ["OMP_NUM_THREADS"]
    if torch is not None:
        count = int(before) if before.isdigit() else len(os.sched_getaffinity(0))
        torch.set_num_threads(max(count, 1))


if __name__ == "__main__":
    sys.exit(main())
