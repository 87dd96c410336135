"""What takes more than one request: batches, crashes, versions, full queues, logs."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.client import Answer
from harness.pair import Pair, observed
from harness.processes import wait_until
from harness.server import Server

# The first test waits until both servers have loaded a dozen models.
pytestmark = [pytest.mark.torchserve, pytest.mark.timeout(400)]


def together(server: Server, model: str, bodies: list[bytes]) -> list[Answer]:
    """Sends the bodies at the same time; the answers in the same order."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: server.predict(model, body), bodies))


@pytest.mark.parametrize(
    "bodies",
    [
        [b"alone"],
        [b"a", b"b", b"c"],
        [b"a", b"b", b"c", b"d"],
        [f"{number}".encode() for number in range(8)],
        [b"a", b"teapot", b"c", b"d"],
        [b"a", b"raise", b"c", b"d"],
    ],
    ids=["alone", "after-delay", "full", "two-batches", "one-status", "one-fails"],
)
def test_batches(pair: Pair, bodies: list[bytes]) -> None:
    ours, theirs = pair.both(lambda server: together(server, "batches", bodies))
    assert [observed(answer) for answer in ours] == [observed(answer) for answer in theirs]


@pytest.mark.parametrize(
    "wish",
    [{"kind": "hard exit"}, {"kind": "exit"}, {"kind": "hang"}],
    ids=lambda wish: wish["kind"].replace(" ", "-"),
)
def test_recovery(pair: Pair, wish: dict[str, object]) -> None:
    def crash_and_ask(server: Server) -> list[dict[str, object]]:
        server.wait_until_loaded("trouble", 60)
        (before,) = server.worker_pids("trouble")
        crashed = server.predict_json("trouble", wish, timeout=60)
        neighbour = server.predict("entry")
        after = server.predict_json("trouble", {"kind": "none"}, timeout=60)
        wait_until(lambda: before not in server.processes(), 20, "the old worker is gone")
        server.wait_until_loaded("trouble", 60)
        assert server.worker_pids("trouble") != [before]
        return [observed(crashed), observed(neighbour), observed(after)]

    ours, theirs = pair.both(crash_and_ask)
    assert ours == theirs


def test_full_queue(pair: Pair) -> None:
    def fill(server: Server) -> tuple[list[int], Answer]:
        with ThreadPoolExecutor(4) as pool:
            running = pool.submit(server.predict, "sleeper", b"2")
            time.sleep(0.5)
            waiting = [pool.submit(server.predict, "sleeper", b"0") for _ in range(2)]
            time.sleep(0.5)
            refused = server.predict("sleeper", b"0")
            return [future.result().status for future in (running, *waiting)], refused

    ours, theirs = pair.both(fill)
    assert ours[0] == theirs[0] == [200, 200, 200]
    assert observed(ours[1]) == observed(theirs[1])
    assert ours[1].status == 503


def test_versions(pair: Pair) -> None:
    def walk(server: Server) -> list[dict[str, object]]:
        query = "initial_workers=1&synchronous=true"
        steps = [
            ("POST", f"/models?url=version-1.0.mar&{query}"),
            ("POST", f"/models?url=version-2.0.mar&{query}"),
            ("POST", f"/models?url=version-2.0.mar&{query}"),
            ("PUT", "/models/version/3.0/set-default"),
            ("PUT", "/models/version/2.0/set-default"),
            ("DELETE", "/models/version/2.0"),
            ("DELETE", "/models/version/1.0"),
            ("DELETE", "/models/version"),
            ("GET", "/models/version"),
        ]
        seen = []
        for method, path in steps:
            seen.append(observed(server.manage(method, path)))
            for which in ("version", "version/1.0", "version/2.0"):
                seen.append(observed(server.predict(which, timeout=60)))
        return seen

    ours, theirs = pair.both(walk)
    assert ours == theirs


ACCESS_LINE = re.compile(
    r"^\S+ - /127\.0\.0\.1:\d+ \"POST /predictions/classy HTTP/1\.1\" 200 \d+$"
)


def test_access_log_lines_look_alike(pair: Pair) -> None:
    pair.both(lambda server: server.predict("classy"))
    for server in (pair.ours, pair.theirs):

        def lines(server: Server = server) -> list[str]:
            text = server.log_file("access_log.log")
            return [line for line in text.splitlines() if "/predictions/classy" in line]

        wait_until(lines, 5, "the access is logged")
        assert ACCESS_LINE.match(lines()[-1]), lines()[-1]


def test_model_log_holds_the_traceback(pair: Pair) -> None:
    pair.both(lambda server: server.predict_json("errors", {"kind": "key"}))
    for server in (pair.ours, pair.theirs):
        wait_until(
            lambda server=server: "KeyError: 'absent'" in server.log_file("model_log.log"),
            5,
            "the exception is logged",
        )
        lines = [
            line
            for line in server.log_file("model_log.log").splitlines()
            if "errors_1.0" in line and ("Traceback" in line or "KeyError" in line)
        ]
        assert lines
        for line in lines:
            assert re.match(r"^\S+ \[\w+ *\] W-\d+-errors_1\.0-std(out|err) MODEL_LOG - ", line), (
                line
            )


def test_description_has_the_same_shape(pair: Pair) -> None:
    ours, theirs = pair.both(lambda server: server.describe("files"))

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [shape(entry) for entry in value]
        return type(value).__name__

    assert shape(ours) == shape(theirs)
    same = ("modelName", "modelVersion", "modelUrl", "runtime", "minWorkers", "maxWorkers")
    for key in (*same, "batchSize", "maxBatchDelay", "responseTimeout", "loadedAtStartup"):
        assert json.dumps(ours[key]) == json.dumps(theirs[key]), key
