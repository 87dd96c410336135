"""Models that are registered with two servers one after another, asked the same, and removed again.

Both servers start once; a few models ahead of the one that is asked load while it answers, so that
forty models neither wait for each other nor need forty workers' memory at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from harness.archives import build_archive
from harness.client import Answer, multipart, request
from harness.pair import Pair, observed
from harness.server import Server

Step = Callable[[Server, str], object]
"""Asks a server for a model and returns what must be the same on both."""

LOADED = 5
"""Models that a server holds at once."""

LOADING = 3
"""Models that a server loads at once."""

PATIENCE = 90
"""Seconds that a model may take to load; with a second try it stays within a test's own limit."""

CHATTER = ("ACCESS_LOG", "TS_METRICS")
"""What a log says of every request."""

JSON = "application/json"


@dataclass(frozen=True)
class Case:
    """A model and what it is asked; `case.py` in the model's folder holds one as `CASE`.

    File names are looked up among what `build` made, then in the folder itself.
    """

    steps: Sequence[Step]
    handler: str = (
        "handler.py"  # a file, `file.py:function`, or a handler that comes with the worker
    )
    model_file: str | None = None
    serialized_file: str | None = None
    extra_files: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)  # model-config.yaml
    build: Callable[[Path], None] | None = None  # writes weights and such into a folder
    needs: Sequence[str] = ()  # modules without which the case is skipped
    registered: int = 200  # status of the registration, where it fails
    # How often TorchServe may try again where its own races spoil an answer; tserve may not.
    retries: int = 0
    query: str = ""  # more parameters of the registration: "batch_size=4&max_batch_delay=50"


# --- steps ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One request whose whole answer must be the same, and have this status."""

    body: bytes | None = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predictions/{model}"
    method: str = "POST"
    status: int = 200
    # What of the body is compared, where that is not every byte.
    read: Callable[[bytes], object] | None = None

    def send(self, server: Server, model: str) -> Answer:
        headers = dict(self.headers)
        if self.content_type:
            headers["Content-Type"] = self.content_type
        path = self.path.format(model=model)
        return request(server.port, self.method, path, self.body, headers, timeout=60)

    def __call__(self, server: Server, model: str) -> object:
        answer = self.send(server, model)
        who = "tserve" if not server.is_foreign() else "TorchServe"
        assert answer.status == self.status, (
            f"{who} answered {answer.status}: {answer.body[:500]!r}"
        )
        seen = observed(answer)
        if self.read is not None and answer.status == 200:
            seen["body"] = self.read(answer.body)
            del seen["headers"]["content-length"]  # type: ignore[attr-defined]
        return seen

    def but(self, **changes: Any) -> Request:
        """The same request with some changes."""
        return replace(self, **changes)

    def explained(self) -> Request:
        """The same request for an explanation."""
        return self.but(path="/explanations/{model}")


def raw(body: bytes, content_type: str = "application/octet-stream", **more: Any) -> Request:
    """A body as it is."""
    return Request(body, content_type, **more)


def text(body: str, **more: Any) -> Request:
    """A text."""
    return Request(body.encode(), "text/plain; charset=utf-8", **more)


def as_json(value: object, **more: Any) -> Request:
    """A JSON body."""
    return Request(json.dumps(value).encode(), JSON, **more)


def form(*parts: tuple[str, str | None, str | None, bytes], **more: Any) -> Request:
    """A multipart form of (name, file name, content type, value)."""
    body, content_type = multipart(list(parts))
    return Request(body, content_type, **more)


class Nearly:
    """JSON whose numbers may differ in the last digits, as sums in another order do."""

    def __init__(self, value: object) -> None:
        self.numbers: list[float] = []
        self.shape = self._walk(value)

    def _walk(self, value: object) -> object:
        if isinstance(value, float):
            self.numbers.append(value)
            return "a number"
        if isinstance(value, dict):
            return [(key, self._walk(entry)) for key, entry in value.items()]
        return [self._walk(entry) for entry in value] if isinstance(value, list) else value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Nearly) or self.shape != other.shape:
            return False
        pairs = zip(self.numbers, other.numbers, strict=True)
        return all(math.isclose(one, two, rel_tol=1e-4, abs_tol=1e-6) for one, two in pairs)

    __hash__ = None  # type: ignore[assignment]


def nearly(body: bytes) -> Nearly:
    """Reads JSON whose numbers come out of large sums: `raw(..., read=nearly)`."""
    return Nearly(json.loads(body))


def together(*requests: Request) -> Step:
    """Requests sent at the same time, which the server may put into one batch in any order."""

    def send(server: Server, model: str) -> object:
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda each: each(server, model), requests))

    return send


def metadata(server: Server, model: str) -> object:
    """What the handler says about itself: the management API's `customizedMetadata`."""
    answer = server.manage("GET", f"/models/{model}?customized=true")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)[0]["customizedMetadata"]


# --- both servers -----------------------------------------------------------------------------


class Gallery:
    """Two running servers and the models that they are to show, in the order of the tests."""

    def __init__(self, pair: Pair, folder: Path, cases: Mapping[str, tuple[Path, Case]]) -> None:
        """Starts to pack and register; `cases` maps a model's name to its folder and case."""
        self._folder = folder
        self._closed = threading.Event()
        self._packer = ThreadPoolExecutor(1)
        self._archives = {
            name: self._packer.submit(pack, folder / "packed", name, *case)
            for name, case in cases.items()
        }
        self._halls = [Hall(server, self) for server in (pair.ours, pair.theirs)]
        for hall in self._halls:
            hall.register({name: case for name, (_, case) in cases.items()})

    def ask(self, name: str, case: Case) -> tuple[list[object], list[object]]:
        """What tserve and TorchServe answered to each step."""
        pool = ThreadPoolExecutor(2)
        try:
            ours, theirs = (pool.submit(hall.visit, name, case) for hall in self._halls)
            answers = ours.result()
            try:
                return answers, theirs.result()
            except NotLoadedError as error:
                pytest.skip(f"tserve answered as it should; TorchServe, tried twice: {error}")
        finally:
            pool.shutdown(wait=False)  # a test that took too long does not wait for its threads

    def archive(self, name: str) -> Path:
        """The archive of a model, once it is packed."""
        return self._archives[name].result()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more needs to be registered."""
        return self._closed.is_set()

    def close(self) -> None:
        """Ends the threads; models stay as they are."""
        self._closed.set()
        self._packer.shutdown(wait=True, cancel_futures=True)
        for hall in self._halls:
            hall.close()


class NotLoadedError(Exception):
    """A server that did not load a model in time, with the end of its log."""


class Hall:
    """One of the servers."""

    def __init__(self, server: Server, gallery: Gallery) -> None:
        self.server = server
        self._gallery = gallery
        self._loaders = ThreadPoolExecutor(LOADING)
        # Of its own: TorchServe takes a minute to remove a model that keeps sequences.
        self._cleaners = ThreadPoolExecutor(LOADED)
        self._places = threading.Semaphore(LOADED)
        self._registered: dict[str, Future[Answer]] = {}
        self._who = "TorchServe" if server.is_foreign() else "tserve"

    def register(self, cases: Mapping[str, Case]) -> None:
        """Starts to register models, as many at a time as there are places."""
        self._registered = {name: Future() for name in cases}
        threading.Thread(target=self._admit, args=(cases,), daemon=True).start()

    def _admit(self, cases: Mapping[str, Case]) -> None:
        """Gives places away in the order of the tests: no later model keeps the next one out."""
        for name, case in cases.items():
            while not self._places.acquire(timeout=0.2):
                if self._gallery.is_closed:
                    return
            self._loaders.submit(self._register, name, case)

    def _register(self, name: str, case: Case) -> None:
        try:
            self._registered[name].set_result(self._load(name, case))
        except BaseException as error:
            self._places.release()
            self._registered[name].set_exception(error)

    def close(self) -> None:
        """Ends the threads once the gallery is closed."""
        for pool in (self._loaders, self._cleaners):
            pool.shutdown(wait=True, cancel_futures=True)

    def _load(self, name: str, case: Case) -> Answer:
        archive = self._gallery.archive(name)
        shutil.copy(archive, self.server.store)
        # While TorchServe registers a model synchronously, a quarter of all requests wait for it.
        loads = case.registered == 200
        query = f"url={archive.name}&initial_workers=1&synchronous={str(not loads).lower()}"
        query += f"&{case.query}" if case.query else ""
        # TorchServe's workers sometimes never come up, those of torchrun above all.
        attempts = 2 if self.server.is_foreign() else 1
        for left in reversed(range(attempts)):
            answer = self.server.manage("POST", f"/models?{query}", timeout=150)
            if not loads or answer.status != 202:
                break
            try:
                self._wait_until_loaded(name, PATIENCE / attempts)
                break
            except NotLoadedError:
                if not left:
                    raise
                self.server.manage("DELETE", f"/models/{name}")
        return answer

    def _wait_until_loaded(self, name: str, seconds: float) -> None:
        """Asks seldom, and again when there is no answer: the machine is busy loading."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, LookupError, ValueError, HTTPException):
                if self.server.workers(name) and self.server.is_loaded(name):
                    return
            assert not self._gallery.is_closed, "the tests are over"
            if time.monotonic() > deadline:
                raise NotLoadedError(f"{name} was not loaded\n{self.server.log(without=CHATTER)}")
            time.sleep(0.3)

    def visit(self, name: str, case: Case) -> list[object]:
        """Takes the steps and removes the model."""
        answer = self._registered[name].result(timeout=PATIENCE + 30)
        retries = case.retries if self.server.is_foreign() else 0
        try:
            while True:
                try:
                    return self._take_steps(name, case, answer)
                except (AssertionError, OSError):
                    if not retries:
                        raise
                retries -= 1
                self.server.manage("DELETE", f"/models/{name}", timeout=PATIENCE)
                answer = self._load(name, case)
        finally:
            self._cleaners.submit(self._remove, name)

    def _take_steps(self, name: str, case: Case, registered: Answer) -> list[object]:
        expected = 202 if case.registered == 200 else case.registered
        assert registered.status == expected, (
            f"{self._who} registered {name} with {registered.status}: {registered.body.decode()}\n"
            + self.server.log(without=CHATTER)
        )
        return [step(self.server, name) for step in case.steps]

    def _remove(self, name: str) -> None:
        try:
            self.server.manage("DELETE", f"/models/{name}")
        finally:
            self._places.release()


def pack(folder: Path, name: str, source: Path, case: Case) -> Path:
    """Builds what the case builds and packs the archive."""
    built = folder / f"built-{name}"
    built.mkdir(parents=True)
    if case.build is not None:
        case.build(built)
    file, colon, function = case.handler.partition(":")
    handler = f"{source / file}{colon}{function}" if file.endswith(".py") else case.handler

    def found(wanted: Iterable[str]) -> list[Path]:
        return [built / one if (built / one).exists() else source / one for one in wanted]

    (serialized,) = found([case.serialized_file]) if case.serialized_file else (None,)
    (model,) = found([case.model_file]) if case.model_file else (None,)
    return build_archive(
        folder / "store",
        name,
        handler=handler,
        serialized_file=serialized,
        model_file=model,
        extra_files=found(case.extra_files),
        # JSON is YAML.
        settings={key: json.dumps(value) for key, value in case.settings.items()},
    )
