"""One rank of a group, but the first: ``python -m tserve_worker.rank``, started by the leader.

It loads what the leader loads, gets the batches that the leader gets, and answers nobody.
"""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from tserve_worker import _ts_names

if TYPE_CHECKING:
    from tserve_worker._protocol import Headers, Item, Row

# Also in processes that a handler starts with multiprocessing, which run this file again.
_ts_names.install()

logger = logging.getLogger("tserve_worker")


class ForwardedLink:
    """Batches that the leader hands on, until it closes the pipe."""

    def __init__(self, batches: BinaryIO) -> None:
        """Read from a pipe."""
        self._batches = batches

    def recv(self) -> ForwardedBatch | None:
        """Wait for the next batch; None when there will be none."""
        try:
            return ForwardedBatch(*pickle.load(self._batches))
        except EOFError:
            return None


class ForwardedBatch:
    """A batch that the leader answers."""

    def __init__(self, ids: dict[int, str], headers: list[Headers], data: list[Row]) -> None:
        """Keep what the leader has sent."""
        self.ids = ids
        self.number = 0  # the leader knows it
        self.headers = headers
        self._data = data

    def take_data(self) -> list[Row]:
        """Hand over the inputs, once."""
        data, self._data = self._data, []
        return data

    def handled(self, preprocess: int = 0, inference: int = 0, postprocess: int = 0) -> None:
        """Note nothing: the leader's times are the batch's."""

    def reply(
        self, code: int, message: str, items: Sequence[Item | None] | None, last: bool = True
    ) -> None:
        """Answer nothing: the leader does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the model and follow the leader.

    Returns:
        the exit status: 0 after an orderly end, 1 when the model did not load.
    """
    from tserve_worker import _environment, _loop
    from tserve_worker._control import Control, LoadRequest
    from tserve_worker._native import end_with

    parser = argparse.ArgumentParser(prog="python -m tserve_worker.rank", description=__doc__)
    parser.add_argument("--control-fd", type=int, required=True, metavar="N")
    parser.add_argument("--batches-fd", type=int, required=True, metavar="N")
    options = parser.parse_args(arguments)
    for descriptor in (options.control_fd, options.batches_fd):
        os.set_inheritable(descriptor, False)
    _environment.leave_boot_directory()
    _environment.start_logging()
    # Natively, because a handler that waits for a dead leader may never run Python again.
    end_with(options.control_fd)
    control = Control(options.control_fd)
    control.hello()
    message = control.receive()
    if message is None:
        return 0
    request = LoadRequest.from_message(message)
    sys.argv = _environment.worker_arguments(sys.argv[1:])
    _environment.enter_model(request)
    model = _loop.load(control, request)
    if model is None:
        return 1
    logger.info("Torch worker started.")
    with os.fdopen(options.batches_fd, "rb") as batches:
        _loop.run(ForwardedLink(batches), model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
