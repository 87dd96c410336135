"""Two servers that get the same requests, and what must be the same in their answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from harness.client import Answer
from harness.server import ROOT, Server

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


def reference_environment() -> Path:
    """The environment that holds the real TorchServe; skips where it cannot run."""
    environment = Path(os.environ.get("TSERVE_REFERENCE_VENV") or ROOT / ".venv-reference")
    if not (environment / "bin" / "torchserve").exists():
        pytest.skip(f"no TorchServe in {environment}; `make reference` installs it")
    if shutil.which("java") is None:
        pytest.skip("TorchServe needs Java, which is not on PATH")
    return environment
