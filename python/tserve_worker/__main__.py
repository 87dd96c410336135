"""The worker process: ``python -m tserve_worker``, started by the server with open sockets."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tserve_worker import _ts_names

if TYPE_CHECKING:
    from tserve_worker._loader import LoadedModel

# Also in processes that a handler starts with multiprocessing, which run this file again.
_ts_names.install()

logger = logging.getLogger("tserve_worker")


@dataclass(frozen=True)
class Preloaded:
    """What a worker that was forked from a template has already: the model's surroundings at least.

    Attributes:
        model: the model, if the template has loaded it.
    """

    model: LoadedModel | None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the inherited file descriptors from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tserve_worker",
        description="Runs one model for tserve, which starts this process by itself.",
    )
    for name, text in (
        ("control", "socket for lifecycle messages, one JSON object per line"),
        ("link", "shared memory with the rings and the reply area"),
        ("arena", "shared memory with the requests"),
        ("wake", "eventfd that wakes the server"),
    ):
        parser.add_argument(f"--{name}-fd", type=int, required=True, metavar="N", help=text)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Load one model and serve it until the server closes the link.

    Returns:
        the exit status: 0 after an orderly end, 1 when the model did not load.
    """
    from tserve_worker import _environment

    options = parse_arguments(arguments)
    _environment.leave_boot_directory()
    _environment.start_logging()
    return work((options.link_fd, options.arena_fd, options.wake_fd, options.control_fd))


def work(descriptors: tuple[int, int, int, int], template: Preloaded | None = None) -> int:
    """Serve one model over open sockets: link, arena, wake-up, control socket.

    Args:
        descriptors: the worker's ends.
        template: what a fork has been born with.

    Returns:
        the exit status, see ``main``.
    """
    # All of it before the archive is on the import path, where a file may have any name.
    from tserve_worker import _environment, _event_loop, _group, _loop, _views
    from tserve_worker._control import Control, LoadRequest
    from tserve_worker._native import Link

    for descriptor in descriptors:
        # Programs that a handler starts have no business with the server's memory.
        os.set_inheritable(descriptor, False)
    decode = os.environ.get("TS_DECODE_INPUT_REQUEST", "true") == "true"
    # The link takes the arena over, which typed inputs read in place, too.
    arena = os.dup(descriptors[1])
    link = Link(*descriptors, decode)
    control = Control(descriptors[3])
    control.hello()
    logger.info("[PID]%d", os.getpid())
    logger.info("Python runtime: %s", platform.python_version())
    message = control.receive()
    if message is None:
        return 0
    request = LoadRequest.from_message(message)
    # The other ranks first: the handler may wait for them while it loads.
    group = _group.Group(request, control, link) if request.group_size > 1 else None
    if template is None:
        sys.argv = _environment.worker_arguments(sys.argv[1:])
        _environment.enter_model(request)
    event_loop = _event_loop.make() if request.async_communication else None
    model = _loop.load(control, request, group, template.model if template else None)
    if model is None:
        return 1
    if model.typed_inputs:
        link.set_tensor_reader(_views.open_arena(model.typed_inputs, arena))
    else:
        os.close(arena)
    logger.info("Torch worker started.")
    if event_loop is None:
        _loop.run(_group.GroupLink(link, group) if group else link, model)
    else:
        _event_loop.run(event_loop, link, control, model)
    logger.info("Frontend disconnected.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
