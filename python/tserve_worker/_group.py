"""The processes of a group: one worker to the server, several ranks to the handler.

The process that the server started is rank 0 and leads the group. It starts the other ranks, waits
until they have loaded, and hands every batch on to them. When a rank ends, a native thread ends the
leader too, even where the handler hangs in a collective operation; the server then kills what is
left of the process group and starts a new one. See docs/distributed.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from tserve_worker._control import Control, LoadRequest
from tserve_worker.errors import RankFailedError

if TYPE_CHECKING:
    from tserve_worker._native import Link as NativeLink
    from tserve_worker._protocol import Batch, Headers, Item, Row

logger = logging.getLogger(__name__)

EXIT_SECONDS = 1.0
"""How long ranks may take to end by themselves; the server's patience is twice that."""


class Rank:
    """One of the other ranks, as its leader sees it."""

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        """Start the process.

        Args:
            number: its rank.
            environment: its variables beside those of this process.
        """
        self.number = number
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        descriptors = theirs.fileno(), reader
        try:
            # In the leader's process group, and into its pipes: one model log, one end.
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tserve_worker.rank"),
                    *("--control-fd", str(descriptors[0]), "--batches-fd", str(descriptors[1])),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**os.environ, **environment},
            )
        finally:
            theirs.close()
            os.close(reader)
        self.control = Control(ours.detach())
        self.batches: BinaryIO = os.fdopen(writer, "wb")
        self.loaded = threading.Event()
        self.failure: dict[str, Any] | None = None

    def close(self) -> None:
        """Let it end after what it has been given."""
        with contextlib.suppress(OSError):
            self.batches.close()


class Group:
    """The other ranks of this worker."""

    def __init__(self, request: LoadRequest, control: Control, link: NativeLink) -> None:
        """Start them, tell them what to load, and take rank 0.

        Args:
            request: what all of them load.
            control: where their messages for the server go.
            link: ends this process when one of them ends.
        """
        self._control = control
        self._forwards = request.forward_requests
        shared = shared_environment(request)
        self._ranks = [
            Rank(number, {**shared, **own_environment(number)})
            for number in range(1, request.group_size)
        ]
        os.environ.update({**shared, **own_environment(0)})
        for rank in self._ranks:
            link.watch_rank(rank.process.pid, rank.number)
            gpu = None if request.gpu_id is None else rank.number
            message = dataclasses.replace(request, gpu_id=gpu)
            rank.control.send("load", **dataclasses.asdict(message))
            threading.Thread(
                target=self._listen, args=(rank,), name=f"tserve-rank-{rank.number}", daemon=True
            ).start()

    def wait_until_loaded(self) -> None:
        """Wait for the other ranks; the server sees to it that this does not take for ever.

        Raises:
            RankFailedError: the handler raised on one of them.
        """
        for rank in self._ranks:
            rank.loaded.wait()
            if rank.failure is not None:
                raise RankFailedError(rank.number, rank.failure)

    def forward(self, ids: dict[int, str], headers: list[Headers], data: list[Row]) -> None:
        """Give a batch to the other ranks; waits while one has not taken those before it."""
        # Only rank 0 describes the model, and in a pipeline only the first stage gets requests.
        if not self._forwards or any(each.get("describe") == "True" for each in headers):
            return
        message = pickle.dumps((ids, headers, data), protocol=5)
        for rank in self._ranks:
            rank.batches.write(message)
            rank.batches.flush()

    def close(self) -> None:
        """Let the other ranks end."""
        for rank in self._ranks:
            rank.close()
        for rank in self._ranks:
            with contextlib.suppress(subprocess.TimeoutExpired):
                rank.process.wait(EXIT_SECONDS)

    def _listen(self, rank: Rank) -> None:
        """Take a rank's messages until it ends."""
        while (message := rank.control.receive()) is not None:
            kind = message.pop("type")
            if kind == "loaded":
                rank.loaded.set()
            elif kind == "failed":
                # The leader may wait for that rank inside the handler: it cannot be asked.
                rank.failure = message
                self._control.send("failed", **name_rank(rank.number, message))
                os._exit(1)
            elif kind != "hello":
                self._control.send(kind, **message)


class GroupLink:
    """The leader's link: what arrives goes to the other ranks as well."""

    def __init__(self, link: NativeLink, group: Group) -> None:
        """Share what ``link`` receives."""
        self._link = link
        self._group = group

    def recv(self) -> SharedBatch | None:
        """Wait for the next batch; at the end let the group end."""
        batch = self._link.recv()
        if batch is None:
            self._group.close()
            return None
        return SharedBatch(batch, self._group)


class SharedBatch:
    """A batch whose inputs are given to all ranks when the handler is about to get them."""

    def __init__(self, batch: Batch, group: Group) -> None:
        """Wrap a batch of the link."""
        self._batch = batch
        self._group = group
        self.ids = batch.ids
        self.headers = batch.headers
        self.number = batch.number

    def take_data(self) -> list[Row]:
        """Hand over the inputs, once."""
        data = self._batch.take_data()
        self._group.forward(self.ids, self.headers, data)
        return data

    def handled(self, preprocess: int = 0, inference: int = 0, postprocess: int = 0) -> None:
        """Note the times of the leader's steps."""
        self._batch.handled(preprocess, inference, postprocess)

    def reply(
        self, code: int, message: str, items: Sequence[Item | None] | None, last: bool = True
    ) -> None:
        """Answer, for the whole group."""
        self._batch.reply(code, message, items, last)

    def __getattr__(self, name: str) -> Any:
        """Be the batch in everything else."""
        return getattr(self._batch, name)


def shared_environment(request: LoadRequest) -> dict[str, str]:
    """Return the variables that all ranks of a group have, as torchrun names them."""
    size = str(request.group_size)
    return {
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ROLE_NAME": "default",
        "ROLE_WORLD_SIZE": size,
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_RUN_ID": f"{request.model_name}_{os.getpid()}",
        # Rank 0 keeps the store: there is no agent that could.
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
        "WORLD_SIZE": size,
    }


def own_environment(rank: int) -> dict[str, str]:
    """Return the variables that tell a rank which one it is."""
    return dict.fromkeys(("LOCAL_RANK", "RANK", "ROLE_RANK"), str(rank))


def free_port() -> int:
    """Return a port that nobody uses at this moment, where the ranks will find each other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def name_rank(number: int, failure: dict[str, Any]) -> dict[str, Any]:
    """Say in a message of failure which rank it is about."""
    return {**failure, "message": f"rank {number}: {failure.get('message', '')}"}
