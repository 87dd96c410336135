"""The control socket: one JSON object per line, both ways."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import traceback
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from tserve_worker._version import __version__
from tserve_worker.errors import ControlError

TRACEBACK_LIMIT_CHARS = 64 * 1024
"""Longer tracebacks keep their end, where the cause is; stderr gets them whole."""

MESSAGE_LIMIT_CHARS = 8 * 1024
"""Longer messages keep their beginning."""


@dataclass(frozen=True)
class LoadRequest:
    """What the server asks a fresh worker to load.

    Attributes:
        model_name: registered name.
        model_dir: the unpacked archive; may be a symbolic link to the user's directory.
        link_parent: directory of that link, where per-model packages are installed, or None.
        handler: handler string, ``file``, ``file.py``, ``file:function`` or a packaged name.
        gpu_id: index of the device, or None for the CPU.
        batch_size: most requests per call.
        envelope: name of a request envelope, or None.
        limit_max_image_pixels: whether image handlers keep Pillow's limit.
        metrics_config: path of a metrics.yaml, or None for the built-in one.
        async_communication: whether the handler is asynchronous and answers in any order.
        group_size: processes of this worker; more than one make a group of ranks.
        forward_requests: whether all ranks of a group get the requests, or only the first.
    """

    model_name: str
    model_dir: str
    link_parent: str | None = None
    handler: str | None = None
    gpu_id: int | None = None
    batch_size: int = 1
    envelope: str | None = None
    limit_max_image_pixels: bool = True
    metrics_config: str | None = None
    async_communication: bool = False
    group_size: int = 1
    forward_requests: bool = True

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> LoadRequest:
        """Read a ``load`` message; keys of newer servers are ignored.

        Raises:
            ControlError: it is another message, or lacks the model.
        """
        if message.get("type") != "load":
            raise ControlError(f"expected a load message, got {message.get('type')!r}")
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{key: value for key, value in message.items() if key in known})
        except TypeError as exc:
            raise ControlError(f"incomplete load message: {exc}") from exc


class Control:
    """The worker's end of the control socket; owns the file descriptor."""

    def __init__(self, descriptor: int) -> None:
        """Take over an inherited stream socket."""
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        # The leader of a group passes on what other ranks say, in threads.
        self._turn = threading.Lock()

    def send(self, kind: str, **values: Any) -> None:
        """Write one message."""
        line = json.dumps({"type": kind, **values})
        with self._turn:
            self._socket.sendall(line.encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """Wait for one message; None when the server is gone.

        Raises:
            ControlError: the line is not a JSON object.
        """
        line = self._lines.readline()
        if not line:
            return None
        try:
            message = json.loads(line)
        except ValueError as exc:
            raise ControlError(f"control message is not JSON: {exc}") from exc
        if not isinstance(message, dict):
            raise ControlError("control message is not a JSON object")
        return message

    def hello(self) -> None:
        """Announce the process."""
        self.send("hello", pid=os.getpid(), version=__version__)

    def loaded(
        self, schemas: dict[str, Any] | None = None, json_numbers: str | None = None
    ) -> None:
        """Say that the handler is ready for requests, and what it wants and says of them.

        Args:
            schemas: what its type hints say.
            json_numbers: what it wants numbers in JSON to be, if it takes tensors.
        """
        values: dict[str, Any] = {"schemas": schemas} if schemas else {}
        if json_numbers is not None:
            values |= {"takes_tensors": True, "json_numbers": json_numbers}
        self.send("loaded", **values)

    def metrics(self, lines: list[str]) -> None:
        """Report values of metrics; without effect once the server is gone."""
        with contextlib.suppress(OSError):
            self.send("metrics", lines=lines)

    def failed(self, error: BaseException, model_dir: str) -> None:
        """Say why the handler could not be loaded, with the line of the user's code."""
        file, line = user_frame(error, model_dir)
        self.send(
            "failed",
            code=failure_code(error),
            exception=type(error).__name__,
            message=str(error)[:MESSAGE_LIMIT_CHARS],
            traceback="".join(traceback.format_exception(error))[-TRACEBACK_LIMIT_CHARS:],
            file=file,
            line=line,
        )


def failure_code(error: BaseException) -> int:
    """Choose the status of a failed load: 507 for lack of memory, 500 for anything else."""
    if isinstance(error, MemoryError):
        return 507
    return 507 if isinstance(error, RuntimeError) and "CUDA" in str(error) else 500


def user_frame(error: BaseException, model_dir: str) -> tuple[str | None, int | None]:
    """Find the place in the archive that an error came from, the innermost one.

    Returns:
        (file, line); (None, None) when no code of the archive took part.
    """
    root = Path(model_dir).resolve()
    if isinstance(error, SyntaxError) and error.filename and _is_inside(error.filename, root):
        return error.filename, error.lineno
    found: tuple[str | None, int | None] = (None, None)
    step: TracebackType | None = error.__traceback__
    while step is not None:
        if _is_inside(step.tb_frame.f_code.co_filename, root):
            found = step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    return found


def _is_inside(file: str, root: Path) -> bool:
    """Tell whether a file belongs to a directory, links followed."""
    return not file.startswith("<") and root in Path(file).resolve().parents
