"""The shapes that pass between the loop and the compiled link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Item = tuple["bytes | bytearray | str", int, "str | None", dict[str, str]]
"""The answer to one request: body, HTTP status, reason phrase (None: the default), headers."""

Headers = dict[str, Any]
"""Headers of one request; a parameter's name maps to ``{"content-type": ...}``."""

Row = dict[str, Any]
"""Inputs of one request by name."""


class Batch(Protocol):
    """One batch of requests, 1 <= B <= batch_size, and the way to answer it."""

    @property
    def ids(self) -> dict[int, str]:
        """Request ids by index in the batch."""

    @property
    def headers(self) -> list[Headers]:
        """Headers, one dict per request."""

    @property
    def number(self) -> int:
        """The server's number of the batch."""

    def take_data(self) -> list[Row]:
        """Hand over the inputs, one dict per request, once: what the handler gets as ``data``."""

    def handled(self, preprocess: int = 0, inference: int = 0, postprocess: int = 0) -> None:
        """Note that the handler has returned, and the nanoseconds that its steps took."""

    def reply(
        self, code: int, message: str, items: Sequence[Item | None] | None, last: bool = True
    ) -> None:
        """Send the answers of all requests, or with ``items=None`` one error for all of them.

        With ``last=False`` it is a part of the answers; a request with ``None`` gets none.

        Raises:
            BrokenPipeError: ``last`` is False and no client waits for more; nothing was sent.
            OverflowError: the frame can never fit the reply area; nothing was sent.
        """


class Link(Protocol):
    """The worker's end of the link to the server."""

    def recv(self) -> Batch | None:
        """Wait for the next batch; None when the server has closed the link."""
