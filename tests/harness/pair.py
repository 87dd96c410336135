"""Two servers that get the same requests, and what must be the same in their answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from harness.client import Answer
from harness.server import Server

T = TypeVar("T")

# Different in every answer by design.
VOLATILE = {"x-request-id"}


@dataclass(frozen=True)
class Pair:
    """tserve and the real TorchServe."""

    ours: Server
    theirs: Server

    def both(self, ask: Callable[[Server], T]) -> tuple[T, T]:
        """Runs `ask(server)` on both at the same time."""
        with ThreadPoolExecutor(2) as pool:
            ours, theirs = pool.submit(ask, self.ours), pool.submit(ask, self.theirs)
            return ours.result(), theirs.result()


def observed(answer: Answer) -> dict[str, object]:
    """What of an answer must be the same: all but the request id, which must only be there."""
    return {
        "status": answer.status,
        "phrase": answer.phrase,
        "headers": {name: text for name, text in answer.headers.items() if name not in VOLATILE},
        "length of the request id": len(answer.headers.get("x-request-id", "")),
        "body": answer.body,
    }
