"""Ping and the three ways to predict: answers, parts, every error."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal

import pytest
from conftest import ServerFactory
from harness.processes import kill, wait_until
from harness.server import Server

from .conftest import Connect, refused

ARCHIVES = ["rpc", {"name": "second", "handler": "version.py"}]
HTTP = "org.pytorch.serve.http"
ARCHIVE = "org.pytorch.serve.archive.model"
NO_WORKER = (
    'Model "{}" has no worker to serve inference request. Please use scale workers API to add '
    "workers. If this is a sequence inference, please check if it is closed, or expired; or "
    "exceeds maxSequenceJobQueueSize\nInternalServerException.()"
)


def test_ping(shared_server: Server, connect: Connect, stubs: object) -> None:
    from google.protobuf import empty_pb2

    answer = connect(shared_server).inference.Ping(empty_pb2.Empty(), timeout=20)
    assert answer.health == '{\n  "status": "Healthy"\n}'


def test_inputs_are_bytes_and_metadata_stays_outside(
    shared_server: Server, connect: Connect
) -> None:
    client = connect(shared_server)
    request = client.pb.PredictionsRequest(model_name="rpc", model_version="1.0")
    request.input["data"] = b"\x00\xff"
    request.input["text"] = b'{"a": 1}'
    call = client.inference.Predictions.with_call(
        request, timeout=20, metadata=[("x-secret", "1"), ("explain", "True")]
    )
    told = json.loads(call[0].prediction)
    assert sorted(told["inputs"]) == [
        ["data", "bytearray", "00ff"],
        ["text", "bytearray", b'{"a": 1}'.hex()],
    ]
    # Without the entries of the inputs, which are there over HTTP too.
    assert set(told["headers"]) <= {"data", "text"}
    assert not call[0].HasField("sequence_id")
    assert not call[0].HasField("status")
    assert json.loads(client.predict("rpc"))["inputs"] == []


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_answers_of_all_sizes(shared_server: Server, connect: Connect, size: int) -> None:
    assert connect(shared_server).predict("rpc", {"size": size}) == b"x" * size


def test_large_inputs_arrive_whole(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    padding = os.urandom(3_000_000)
    request = client.request("rpc", {"answer": "ok"})
    request.input["other"] = padding
    assert client.inference.Predictions(request, timeout=30).prediction == b"ok"


def test_compressed_requests_are_read(shared_server: Server, connect: Connect) -> None:
    import grpc

    client = connect(shared_server)
    request = client.request("rpc", {"answer": "a" * 5000})
    answer = client.inference.Predictions(request, timeout=20, compression=grpc.Compression.Gzip)
    assert answer.prediction == b"a" * 5000


def test_what_the_handler_sets_for_http_is_left_out(
    shared_server: Server, connect: Connect
) -> None:
    assert connect(shared_server).predict("rpc", {"status": 418, "answer": "tea"}) == b"tea"


def test_lookups_that_fail(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    with refused("INTERNAL", "Parameter model_name is required.\nBadRequestException.()"):
        client.predict("")
    with refused("INTERNAL", f"Model not found: no\n{ARCHIVE}.ModelNotFoundException"):
        client.predict("no")
    text = "Model version: 7 does not exist for model: rpc"
    with refused("INTERNAL", f"{text}\n{ARCHIVE}.ModelVersionNotFoundException"):
        client.predict("rpc", model_version="7")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (408, "FAILED_PRECONDITION"),
        (409, "ABORTED"),
        (416, "OUT_OF_RANGE"),
        (418, "FAILED_PRECONDITION"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_of_the_handler(
    shared_server: Server, connect: Connect, code: int, name: str
) -> None:
    client = connect(shared_server)
    wish = {"raise": "prediction", "code": code, "message": "gone: ünder\n%41"}
    with refused(name, f"gone: ünder\n%41\n{HTTP}.InternalServerException"):
        client.predict("rpc", wish)
    with refused(name):
        list(client.inference.StreamPredictions(client.request("rpc", wish), timeout=20))


def test_exceptions_of_the_handler(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    with refused("UNAVAILABLE", f"Prediction failed\n{HTTP}.InternalServerException"):
        client.predict("rpc", {"raise": "value"})
    with refused("INTERNAL", f"Out of resources\n{HTTP}.InternalServerException"):
        client.predict("rpc", {"raise": "memory"})
    assert client.predict("rpc", {"answer": "still there"}) == b"still there"


def test_no_worker_and_a_full_queue(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("rpc", config={"job_queue_size": 1})
    client = connect(server)
    busy = [
        client.inference.Predictions.future(client.request("rpc", {"sleep": 2}), timeout=30)
        for _ in range(8)
    ]
    codes = [(call.code().name, call.details()) for call in busy]
    assert ("INTERNAL", NO_WORKER.format("rpc")) in codes
    assert ("OK", "") in codes
    assert server.manage("PUT", "/models/rpc?min_worker=0&synchronous=true").status == 200
    with refused("INTERNAL", NO_WORKER.format("rpc")):
        client.predict("rpc")


def test_death_of_the_worker(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("rpc")
    client = connect(server)
    call = client.inference.Predictions.future(client.request("rpc", {"sleep": 20}), timeout=30)
    wait_until(lambda: "sleeping 20" in server.log_file("model_log.log"), 20, "it runs")
    kill(server.worker_pids("rpc")[0], signal.SIGKILL)
    # A worker that was killed, for want of memory as like as not.
    assert call.code().name == "RESOURCE_EXHAUSTED"
    assert call.details() == f"Worker died.\n{HTTP}.InternalServerException"
    server.wait_until_loaded("rpc")
    assert client.predict("rpc", {"answer": "again"}) == b"again"


def test_time_out_of_the_model(start_server: ServerFactory, connect: Connect) -> None:
    settings = {"clientTimeoutInMills": 300, "minWorkers": 1}
    client = connect(start_server({"name": "rpc", "settings": settings}))
    text = 'Model "rpc" did not answer within clientTimeoutInMills 300.'
    with refused("DEADLINE_EXCEEDED", f"{text}\n{HTTP}.RequestTimeoutException"):
        client.predict("rpc", {"sleep": 2})


def test_parts_come_one_by_one(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    parts = client.inference.StreamPredictions(
        client.request("rpc", {"parts": 3, "answer": "end"}), timeout=30
    )
    assert [part.prediction for part in parts] == [b"part 0", b"part 1", b"part 2", b"end"]
    # Each way of asking is right for each kind of handler.
    whole = client.inference.StreamPredictions(client.request("rpc", {"answer": "1"}), timeout=30)
    assert [part.prediction for part in whole] == [b"1"]
    joined = client.predict("rpc", {"parts": 2, "answer": "end"})
    assert joined == b"part 0part 1end"


def test_64_streams_on_one_connection_are_each_whole_and_in_order(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server({"name": "rpc", "settings": {"minWorkers": 2, "maxWorkers": 2}})
    client = connect(server)
    lengths = [10 + index % 7 for index in range(64)]
    calls = [
        client.inference.StreamPredictions(
            client.request("rpc", {"tag": f"s{index} ", "parts": length, "answer": "end"}),
            timeout=60,
        )
        for index, length in enumerate(lengths)
    ]
    for index, (call, length) in enumerate(zip(calls, lengths, strict=True)):
        expected = [f"s{index} part {number}".encode() for number in range(length)]
        assert [part.prediction for part in call] == [*expected, b"end"]


def test_error_after_the_first_part(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    wish = {"parts": 3, "fail_after": 1}
    parts = client.inference.StreamPredictions(client.request("rpc", wish), timeout=30)
    got = []
    with refused("UNAVAILABLE", f"Prediction failed\n{HTTP}.InternalServerException"):
        got.extend(part.prediction for part in itertools.islice(parts, 9))
    assert got in ([b"part 0", b"part 1"], [])


def test_client_that_does_not_read_holds_the_handler_back(
    start_server: ServerFactory, connect: Connect
) -> None:
    server = start_server(*ARCHIVES)
    client = connect(server)
    wish = {"parts": 2000, "padding": 50_000, "answer": "end"}
    parts = client.inference.StreamPredictions(client.request("rpc", wish), timeout=60)
    assert next(parts).prediction.startswith(b"part 0")
    # 100 MB would come; a few are under way.
    assert server.predict("second").status == 200
    parts.cancel()
    server.wait_until_loaded("rpc")
    assert client.predict("rpc", {"answer": "free"}) == b"free"
    assert "sent part 1999" not in server.log_file("model_log.log")


def test_sequences(shared_server: Server, connect: Connect) -> None:
    client = connect(shared_server)
    requests: queue.SimpleQueue[object] = queue.SimpleQueue()
    answers = client.inference.StreamPredictions2(iter(requests.get, None), timeout=60)

    def ask(model: str, wish: object = None, **fields: object) -> object:
        requests.put(client.request(model, wish, **fields))
        return next(answers)

    told = json.loads(ask("rpc", sequence_id="s").prediction)
    assert told["headers"] == {"ts_request_sequence_id": "s"}
    # Errors stand between the answers, and the call goes on.
    for wish, fields, code, message, reason in [
        ({}, {}, 13, "Parameter sequenceId is required.", "BadRequestException.()"),
        ({"raise": "value"}, {"sequence_id": "s"}, 14, "Prediction failed", HTTP),
    ]:
        status = ask("rpc", wish, **fields).status
        assert (status.code, status.message) == (code, message)
        assert status.details[0].type_url == "type.googleapis.com/google.rpc.ErrorInfo"
        assert reason.encode() in status.details[0].value
    assert ask("no", sequence_id="s").status.message == "Model not found: no"
    # The server names a sequence whose first request has no id.
    first = client.request("rpc")
    first.input["ts_request_sequence_start"] = b"true"
    first.input["ts_request_sequence_end"] = b"TRUE"
    requests.put(first)
    answer = next(answers)
    headers = json.loads(answer.prediction)["headers"]
    assert answer.sequence_id.startswith("ts-seq-")
    assert headers["ts_request_sequence_id"] == answer.sequence_id
    # Many at once, answered in order; half-closing loses none.
    for number in range(40):
        requests.put(client.request("rpc", {"answer": str(number)}, sequence_id="s"))
    requests.put(None)
    assert [answer.prediction for answer in answers] == [str(n).encode() for n in range(40)]
    assert answers.code().name == "OK"
