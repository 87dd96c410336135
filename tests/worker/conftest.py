"""Models in directories of their own, loaded in this process, and batches to ask them."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tserve_worker import _environment, _loop, _ts_names
from tserve_worker._control import LoadRequest
from tserve_worker._loader import LoadedModel, load_model


class FakeBatch:
    """A batch without a link; keeps what was replied."""

    def __init__(self, *rows: dict[str, Any], headers: list[dict[str, Any]] | None = None) -> None:
        self.data = list(rows)
        self.headers = headers if headers is not None else [{} for _ in rows]
        self.ids = {index: f"id-{index}" for index in range(len(rows))}
        self.replies: list[dict[str, Any]] = []
        self.limit: int | None = None
        # After so many parts every client is gone.
        self.wanted_parts: int | None = None

    def take_data(self) -> list[dict[str, Any]]:
        return self.data

    def handled(self, preprocess: int = 0, inference: int = 0, postprocess: int = 0) -> None:
        self.steps = (preprocess, inference, postprocess)

    def reply(self, code: int, message: str, items: Any, last: bool = True) -> None:
        if self.limit is not None and items and sum(len(item[0]) for item in items) > self.limit:
            raise OverflowError(f"reply exceeds {self.limit} bytes")
        if not last and self.wanted_parts == len(self.replies):
            raise BrokenPipeError("nobody waits")
        detail = None
        if code != 200 and items:
            # What the handler raised stands where the first answer would.
            (described,) = items
            assert described[1:] == (code, None, {})
            detail, items = json.loads(described[0]), None
        if items is not None:
            assert len(items) == len(self.data)
            assert not last or None not in items
            items = [
                item and (bytes(encoded(item[0])), item[1], item[2], dict(item[3]))
                for item in items
            ]
        reply = {"code": code, "message": message, "items": items, "last": last}
        self.replies.append({**reply, "detail": detail})

    @property
    def answer(self) -> dict[str, Any]:
        """The one reply of a batch."""
        (reply,) = self.replies
        assert reply["last"]
        return reply

    @property
    def bodies(self) -> list[bytes]:
        """Bodies of a successful reply."""
        answer = self.answer
        assert answer["code"] == 200, answer
        return [item[0] for item in answer["items"]]

    @property
    def failure(self) -> tuple[int, str]:
        """Status and message of a failed batch."""
        answer = self.answer
        assert answer["items"] is None, answer
        return answer["code"], answer["message"]


def encoded(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


class Served:
    """A loaded model and the way to ask it."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.context: Any = model.context

    def ask(
        self,
        *rows: Any,
        headers: list[dict[str, Any]] | None = None,
        limit: int | None = None,
        wanted_parts: int | None = None,
    ) -> FakeBatch:
        """Send one batch; anything but a dict is a ``body``."""
        batch = FakeBatch(
            *(row if isinstance(row, dict) else {"body": row} for row in rows), headers=headers
        )
        batch.limit, batch.wanted_parts = limit, wanted_parts
        _loop.answer(batch, self.model)
        return batch

    def body(self, row: Any, **headers: Any) -> Any:
        """Send one request and return the JSON of its answer."""
        return json.loads(self.ask(row, headers=[headers]).bodies[0])


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo what loading a model does to the process."""
    modules, path, argv = set(sys.modules), list(sys.path), list(sys.argv)
    directory, dont_write = os.getcwd(), sys.dont_write_bytecode
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    finders = list(sys.meta_path)
    _ts_names.install()
    logging.getLogger().setLevel(logging.INFO)
    yield
    os.chdir(directory)
    sys.meta_path[:] = finders
    sys.path[:], sys.argv[:], sys.dont_write_bytecode = path, argv, dont_write
    for name in set(sys.modules) - modules:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Write the files of an unpacked archive; ``manifest`` is merged into its model section."""

    def write(
        files: dict[str, str | bytes] | None = None, manifest: dict[str, Any] | None = None
    ) -> Path:
        directory = tmp_path / "model"
        directory.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            file = directory / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        if manifest is not None:
            info = directory / "MAR-INF"
            info.mkdir(exist_ok=True)
            model = {"modelName": "m", "modelVersion": "1.0", **manifest}
            document = {"runtime": "python", "archiverVersion": "0.12.0", "model": model}
            (info / "MANIFEST.json").write_text(json.dumps(document))
        return directory

    return write


@pytest.fixture
def serve(archive: Callable[..., Path]) -> Callable[..., Served]:
    """Load a model from files, as a worker does."""

    def load(
        handler: str | None,
        files: dict[str, str | bytes] | None = None,
        *,
        manifest: dict[str, Any] | None = None,
        **options: Any,
    ) -> Served:
        directory = archive(files, manifest if manifest is not None else {"handler": handler})
        request = LoadRequest("m", str(directory), handler=handler, **options)
        _environment.enter_model(request)
        return Served(load_model(request))

    return load
