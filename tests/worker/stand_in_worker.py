"""A worker whose link is a socket with JSON lines, for tests of the process around it."""

from __future__ import annotations

import json
import socket
import sys
import types
from typing import Any


class Batch:
    def __init__(self, link: Link, message: dict[str, Any]) -> None:
        self._link = link
        self.data = message["data"]
        self.headers = message.get("headers", [{} for _ in self.data])
        self.ids = {index: f"id-{index}" for index in range(len(self.data))}

    def take_data(self) -> Any:
        return self.data

    def handled(self, preprocess: int = 0, inference: int = 0, postprocess: int = 0) -> None:
        pass

    def reply(self, code: int, message: str, items: Any, last: bool = True) -> None:
        bodies = [body if isinstance(body, str) else body.decode() for body, *_ in items or []]
        document = {"code": code, "message": message, "bodies": bodies, "last": last}
        self._link.socket.sendall(json.dumps(document).encode() + b"\n")


class Link:
    def __init__(self, link_fd: int, *_: Any) -> None:
        self.socket = socket.socket(fileno=link_fd)
        self._lines = self.socket.makefile("rb")

    def recv(self) -> Batch | None:
        line = self._lines.readline()
        return Batch(self, json.loads(line)) if line else None


def left_to_python(_value: object) -> None:
    return None


if __name__ == "__main__":
    native = types.ModuleType("tserve_worker._native")
    native.__dict__.update(Link=Link, dumps=left_to_python, __version__="9.9.9")
    sys.modules["tserve_worker._native"] = native
    # As with `python -m`, the working directory comes first on the import path.
    sys.path[0] = ""
    from tserve_worker.__main__ import main

    sys.exit(main())
