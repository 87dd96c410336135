"""Random management calls under inference load, against a small model of what must hold.

`TSERVE_STATEFUL` sets how many calls are made; `make fault` makes many.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.archives import build_archive
from harness.client import Answer, Connection
from harness.processes import wait_until
from harness.server import Server
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

NAMES = ("apple", "pear")
VERSIONS = ("1.0", "2.0")
STEPS = 12
CALLS = int(os.environ.get("TSERVE_STATEFUL", "240"))
CLIENTS = 2

names = st.sampled_from(NAMES)
versions = st.sampled_from(VERSIONS)
maybe_versions = st.sampled_from((None, *VERSIONS))
counts = st.integers(0, 2)
Key = tuple[str, str | None]  # a model and its version; None is whichever is the default


@dataclass
class Version:
    """A registered version as it must be."""

    workers: int


class Truth:
    """What clients must be answered, and whether that is changing at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected = {(name, version): (0, 404) for name in NAMES for version in WAYS}

    def read(self, key: Key) -> tuple[int, int]:
        """How often this changed, and the status that requests get; 0 while it changes."""
        with self._lock:
            return self._expected[key]

    def write(self, keys: dict[Key, int]) -> None:
        with self._lock:
            for key, status in keys.items():
                self._expected[key] = (self._expected[key][0] + 1, status)


WAYS = (None, *VERSIONS)


class Load:
    """Clients that ask random models all the time and know what they may be answered."""

    def __init__(self, server: Server, truth: Truth) -> None:
        self.server = server
        self.truth = truth
        self.wrong: list[str] = []
        self.answered = 0
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._client, args=(i,)) for i in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _client(self, seed: int) -> None:
        choose = random.Random(seed)
        while not self._stop.is_set():
            with Connection(self.server.port, timeout=30) as connection:
                # An answer that is an error ends its connection.
                while not self._stop.is_set() and self._ask(connection, choose) < 400:
                    time.sleep(0.003)

    def _ask(self, connection: Connection, choose: random.Random) -> int:
        key = (choose.choice(NAMES), choose.choice(WAYS))
        body = str(next(self._numbers)).encode()
        before = self.truth.read(key)
        try:
            answer = connection.request("POST", path("predictions", key), body)
        except (OSError, ValueError) as error:
            self.wrong.append(f"no answer for {key}: {error!r}")
            self._stop.set()
            return 0
        problem = judge(key, body, answer)
        if before == self.truth.read(key) and before[1] not in (0, answer.status):
            problem = problem or f"not {before[1]}"
        if problem:
            self.wrong.append(f"{key}: {problem}: {answer}")
        self.answered += 1
        return answer.status

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"


def path(kind: str, key: Key) -> str:
    name, version = key
    return f"/{kind}/{name}" + (f"/{version}" if version else "")


def judge(key: Key, body: bytes, answer: Answer) -> str | None:
    """What is wrong with an answer, whatever the state was."""
    name, version = key
    if answer.status == 200:
        allowed = [f"{name} {one} ".encode() + body for one in VERSIONS if version in (None, one)]
        return None if answer.body in allowed else "another's answer"
    kinds = {404: ("ModelNotFoundException", "ModelVersionNotFoundException")}
    kinds[503] = ("ServiceUnavailableException",)
    error: Any = answer.json()
    return None if error["type"] in kinds.get(answer.status, ()) else "an unexpected error"


class Management(RuleBasedStateMachine):
    """The calls of the management API, each with what it must answer."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, dict[str, Version]] = {}
        self.defaults: dict[str, str] = {}
        self.truth = Truth()
        self.load = Load(self.server, self.truth)

    # --- the model ----------------------------------------------------------------------------

    def find(self, key: Key) -> Version | None:
        name, version = key
        return self.models.get(name, {}).get(version or self.defaults.get(name, ""))

    def status(self, key: Key) -> int:
        found = self.find(key)
        return 404 if found is None else (200 if found.workers else 503)

    def changing(self, name: str) -> None:
        self.truth.write({(name, version): 0 for version in WAYS})

    def changed(self, name: str) -> None:
        self.truth.write({(name, version): self.status((name, version)) for version in WAYS})

    def call(self, method: str, target: str) -> tuple[int, Any]:
        answer = self.server.manage(method, target)
        return answer.status, answer.json()

    # --- calls --------------------------------------------------------------------------------

    @rule(name=names, version=versions, workers=counts, synchronous=st.booleans())
    def register(self, name: str, version: str, workers: int, synchronous: bool) -> None:
        query = f"url={name}-{version}.mar&initial_workers={workers}&synchronous={synchronous}"
        self.changing(name)
        status, _ = self.call("POST", f"/models?{query}")
        if self.find((name, version)):
            assert status == 409
        else:
            assert status == (202 if workers and not synchronous else 200)
            self.models.setdefault(name, {})[version] = Version(workers)
            self.defaults.setdefault(name, version)
        self.changed(name)

    @rule(name=names, synchronous=st.just(True))
    def register_what_does_not_load(self, name: str, synchronous: bool) -> None:
        """Fails, and leaves no trace: neither a model nor a change of the default version."""
        self.changing(name)
        query = f"url=refuses.mar&model_name={name}&initial_workers=1"
        assert self.call("POST", f"/models?{query}")[0] == 500
        self.changed(name)

    @rule(name=names, version=maybe_versions, workers=counts, synchronous=st.booleans())
    def scale(self, name: str, version: str | None, workers: int, synchronous: bool) -> None:
        found = self.find((name, version))
        query = f"min_worker={workers}&max_worker={workers}&synchronous={synchronous}"
        self.changing(name)
        status, _ = self.call("PUT", f"{path('models', (name, version))}?{query}")
        if found is None:
            assert status == 404
        else:
            assert status == (200 if synchronous else 202)
            found.workers = workers
        self.changed(name)

    @rule(name=names, version=versions)
    def set_default(self, name: str, version: str) -> None:
        self.changing(name)
        status, _ = self.call("PUT", f"/models/{name}/{version}/set-default")
        if self.find((name, version)):
            assert status == 200
            self.defaults[name] = version
        else:
            assert status == 404
        self.changed(name)

    @rule(name=names, version=maybe_versions)
    def unregister(self, name: str, version: str | None) -> None:
        self.changing(name)
        status, body = self.call("DELETE", path("models", (name, version)))
        if self.find((name, version)) is None:
            assert status == 404
        elif version in (None, self.defaults[name]) and len(self.models[name]) > 1:
            assert status == 403
        else:
            assert (status, body) == (200, {"status": f'Model "{name}" unregistered'})
            del self.models[name][version or self.defaults[name]]
            if not self.models[name]:
                del self.models[name], self.defaults[name]
        self.changed(name)

    @rule(name=names, version=maybe_versions)
    def predict(self, name: str, version: str | None) -> None:
        key = (name, version)
        with Connection(self.server.port) as connection:
            answer = connection.request("POST", path("predictions", key), b"once")
        assert answer.status == self.status(key), answer
        assert judge(key, b"once", answer) is None

    @rule(name=names, version=st.sampled_from((None, "all", *VERSIONS)))
    def describe(self, name: str, version: str | None) -> None:
        status, described = self.call("GET", path("models", (name, version)))
        shown = self.models.get(name, {})
        if version != "all":
            wanted = version or self.defaults.get(name, "")
            shown = {wanted: shown[wanted]} if wanted in shown else {}
        if not shown:
            assert status == 404
            return
        assert status == 200
        assert [one["modelVersion"] for one in described] == sorted(shown)
        for one in described:
            workers = shown[one["modelVersion"]].workers
            assert (one["minWorkers"], one["maxWorkers"]) == (workers, workers)
            assert len(one["workers"]) == workers
            assert not any("lastError" in worker for worker in one["workers"])
            pids = {worker["pid"] for worker in one["workers"] if worker["status"] == "READY"}
            assert pids <= set(self.server.processes())

    @precondition(lambda self: self.models)
    @rule()
    def all_workers_load(self) -> None:
        for name, described in self.models.items():
            for version in described:
                target = f"/models/{name}/{version}"

                def is_loaded(target: str = target) -> bool:
                    (one,) = json.loads(self.server.manage("GET", target).body)
                    return all(worker["status"] == "READY" for worker in one["workers"])

                wait_until(is_loaded, 30, f"the workers of {target} are ready")

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def the_list_is_true(self) -> None:
        assert self.server.model_names() == sorted(self.models)

    @invariant()
    def nobody_was_answered_wrongly(self) -> None:
        assert self.load.wrong == []

    def teardown(self) -> None:
        self.load.stop()
        for name, described in list(self.models.items()):
            for version in sorted(described, key=lambda one: one == self.defaults[name]):
                assert self.call("DELETE", f"/models/{name}/{version}")[0] == 200
        assert self.load.wrong == []
        assert self.load.answered > 0
        assert self.server.model_names() == []
        # The server and its janitor stay.
        wait_until(lambda: len(self.server.processes()) == 2, 15, "no worker is left")
        assert folders(self.server) == []


def folders(server: Server) -> list[str]:
    return [path.name for path in server.temporary.glob("tserve-*/models/*")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("stateful")
    for name in NAMES:
        for version in VERSIONS:
            build_archive(
                folder / "store",
                name,
                handler="named.py",
                version=version,
                file_name=f"{name}-{version}",
            )
    build_archive(folder / "store", "refuses", version="9.9")
    server = Server(folder, config={"default_workers_per_model": 0})
    server.start()
    yield server
    server.stop()


@pytest.mark.timeout(3600 if CALLS > 240 else 120)
def test_random_calls(server: Server) -> None:
    Management.server = server
    run_state_machine_as_test(
        Management,
        settings=settings(
            max_examples=max(1, CALLS // STEPS),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # The same calls in every run of CI, others in every large run.
            derandomize=CALLS <= 240,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
