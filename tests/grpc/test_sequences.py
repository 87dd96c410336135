"""Stateful models over gRPC: `sequence_id` of messages, on calls of either kind."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.server import Server

SETTINGS = {
    "minWorkers": 1,
    "batchSize": 2,
    "maxBatchDelay": 10,
    "sequenceBatching": "true",
    "continuousBatching": "true",
    "sequenceMaxIdleMSec": 60_000,
    "maxNumSequence": 2,
    "maxSequenceJobQueueSize": 8,
}


@pytest.fixture
def server(start_server) -> Server:
    return start_server({"name": "stateful", "settings": SETTINGS})


class Call:
    """One call of `StreamPredictions2`."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.requests: queue.SimpleQueue[object] = queue.SimpleQueue()
        call = client.inference.StreamPredictions2
        self.answers: Iterator[Any] = call(iter(self.requests.get, None), timeout=60)

    def ask(self, wish: dict[str, object], sequence: str | None = None, **marks: bytes) -> Any:
        request = self.client.request("stateful", json.dumps(wish).encode(), sequence_id=sequence)
        for mark, value in marks.items():
            request.input[f"ts_request_sequence_{mark}"] = value
        self.requests.put(request)
        return next(self.answers)


def total(message: Any) -> int:
    assert not message.HasField("status"), message
    return int(json.loads(message.prediction)["sum"])


def test_sequences_on_one_call(server: Server, connect: Callable[[Server], Any]) -> None:
    call = Call(connect(server))
    assert [total(call.ask({"n": n}, "a")) for n in (1, 2)] == [1, 3]
    first = call.ask({"n": 5}, start=b"true")
    assert total(first) == 5
    assert first.sequence_id.startswith("ts-seq-")
    refused = call.ask({"n": 1}, "too many")
    assert "exceeds maxSequenceJobQueueSize" in refused.status.message
    assert total(call.ask({"n": 6}, first.sequence_id, end=b"true")) == 11
    assert total(call.ask({"n": 7}, "c")) == 7
    call.requests.put(None)
    assert list(call.answers) == []


def test_each_part_is_a_message(server: Server, connect: Callable[[Server], Any]) -> None:
    call = Call(connect(server))
    sums = [total(call.ask({"n": 4, "parts": 3}, "a")), *(total(next(call.answers)) for _ in "ab")]
    assert sums == [4, 4, 4]
    assert total(call.ask({"n": 1}, "a")) == 5
    failed = call.ask({"raise": True}, "a")
    assert failed.status.message == "Prediction failed"
    assert total(call.ask({"n": 1}, "a")) == 6


def test_other_calls_may_name_a_sequence(server: Server, connect: Callable[[Server], Any]) -> None:
    client = connect(server)
    for expected in (2, 4):
        request = client.request("stateful", b'{"n": 2}', sequence_id="a")
        assert total(client.inference.Predictions(request, timeout=30)) == expected
    request = client.request("stateful", b'{"n": 2, "parts": 2}', sequence_id="a")
    parts = client.inference.StreamPredictions(request, timeout=30)
    assert [total(part) for part in parts] == [6, 6]
