"""What users' own tests drive without a server: ``ts.service``, ``ts.model_loader``, the frames."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import pytest

from tserve_worker._context import Context, RequestProcessor
from tserve_worker.errors import PredictionException
from tserve_worker.offline import frames
from tserve_worker.offline.model_dir import copy_files
from tserve_worker.offline.model_loader import ModelLoaderFactory
from tserve_worker.offline.model_service import SingleNodeService
from tserve_worker.offline.service import Service, emit_metrics


class Socket:
    """A connection that hands out what it was given, a few bytes at a time."""

    def __init__(self, received: bytes = b"") -> None:
        self.received = received
        self.sent = b""

    def recv(self, size: int) -> bytes:
        size = min(size, 3)
        part, self.received = self.received[:size], self.received[size:]
        return part

    def sendall(self, data: bytes) -> None:
        self.sent += data


def text(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def integers(*values: int) -> bytes:
    return struct.pack(f"!{len(values)}i", *values)


def test_load_message_is_read() -> None:
    message = b"L" + text(b"m") + text(b"/path") + integers(4) + text(b"h.py") + integers(-1)
    command, found = frames.retrieve_msg(Socket(message + text(b"") + b"\x01"))
    assert command == frames.LOAD_MSG
    assert found == {
        "modelName": b"m",
        "modelPath": b"/path",
        "batchSize": 4,
        "handler": b"h.py",
        "envelope": b"",
        "limitMaxImagePixels": True,
    }


def test_inference_message_is_read() -> None:
    parameters = text(b"a") + text(b"application/json") + text(b'{"x": 1}')
    parameters += text(b"b") + text(b"text/plain") + text(b"hey")
    parameters += text(b"c") + text(b"application/json") + text(b"{")
    header = text(b"h") + text(b"v")
    message = b"I" + text(b"id-1") + header + integers(-1) + parameters + integers(-1, -1)
    command, batch = frames.retrieve_msg(Socket(message))
    assert command == frames.PREDICT_MSG
    processors, rows, ids = Service.retrieve_data_for_inference(batch)
    assert rows == [{"a": {"x": 1}, "b": "hey", "c": bytearray(b"{")}]
    assert ids == {0: "id-1"}
    assert processors[0].get_request_property("h") == "v"
    assert processors[0].get_request_property("b") == {"content-type": "text/plain"}


def test_other_messages_and_the_end() -> None:
    with pytest.raises(ValueError, match="Invalid command"):
        frames.retrieve_msg(Socket(b"U"))
    with pytest.raises(SystemExit):
        frames.retrieve_msg(Socket(b"I\x00"))


def make_service(entry_point: Any) -> Service:
    service = Service("m", ".", None, entry_point, None, 1)
    service.set_cl_socket(Socket())
    return service


REQUEST = {
    "requestId": b"r1",
    "parameters": [{"name": "body", "value": b"hi", "contentType": ""}],
    "headers": [{"name": b"Accept", "value": b"text"}],
}


def test_service_answers_in_a_frame() -> None:
    def handle(data: Any, context: Context) -> list[str]:
        context.set_response_status(201, "made", 0)
        context.set_response_content_type(0, "text/plain")
        return [data[0]["body"].decode() + context.get_request_header(0, "Accept")]

    frame = make_service(handle).predict([REQUEST])
    expected = integers(200) + text(b"Prediction success") + text(b"r1") + text(b"text/plain")
    expected += integers(201) + text(b"made")
    expected += integers(1) + text(b"content-type") + text(b"text/plain")
    assert frame == expected + text(b"hitext") + integers(-1)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("no"), 503, b"Prediction failed"),
        (RuntimeError("CUDA out of memory"), 507, b"Out of resources"),
        (MemoryError(), 507, b"Out of resources"),
        (PredictionException("late", 504), 504, b"late"),
    ],
)
def test_service_answers_errors(error: Exception, code: int, message: bytes) -> None:
    def handle(data: Any, context: Context) -> list[str]:
        raise error

    failed = text(b"r1") + text(b"") + integers(code) + text(b"") + integers(0) + text(b"error")
    frame = make_service(handle).predict([REQUEST])
    assert frame == integers(code) + text(message) + failed + integers(-1)


def test_wrong_results_are_errors() -> None:
    for result, message in (
        ("x", b"Invalid model predict output"),
        ([], b"number of batch response mismatched"),
        ([{1}], b"Unsupported model output data type."),
    ):
        frame = make_service(lambda data, context, result=result: result).predict([REQUEST])
        assert frame is not None
        assert frame.startswith(integers(503) + text(message)), message
    with pytest.raises(ValueError, match="invalid inputs"):
        make_service(None).predict(None)


def test_intermediate_response_goes_to_the_socket() -> None:
    from tserve_worker.handler_utils.utils import send_intermediate_predict_response

    def handle(data: Any, context: Context) -> list[str]:
        send_intermediate_predict_response(["part"], context.request_ids, "ok", 200, context)
        return ["end"]

    service = make_service(handle)
    frame = service.predict([REQUEST])
    assert frame is not None
    assert text(b"ts_stream_next") + text(b"true") in service.cl_socket.sent
    assert text(b"ts_stream_next") + text(b"false") in frame


def test_other_ranks_answer_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert frames.create_predict_response(["x"], {0: "r"}, "ok", 200) is None


def test_loader_loads_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offline_handler.py").write_text(
        "def handle(data, context):\n    return data and [context.model_name] * len(data)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loader = ModelLoaderFactory.get_model_loader()
    service = loader.load("m", str(tmp_path), "offline_handler:handle", None, 1)
    service.set_cl_socket(Socket())
    frame = service.predict([REQUEST])
    assert frame is not None
    assert text(b"m") + integers(-1) in frame
    assert service.context.metrics.request_ids == {0: "r1"}


def test_single_node_service(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Doubled(SingleNodeService):
        def _inference(self, data: Any) -> Any:
            return [value["x"] * 2 for value in data]

    signature = '{"input_type": "application/json", "inputs": [{"data_name": "d"}]}'
    (tmp_path / "signature.json").write_text(signature)
    manifest = {"Model": {"Signature": "signature.json"}}
    context = Context("m", str(tmp_path), manifest, 1, None, "0")
    service = Doubled("m", str(tmp_path), manifest)
    service.initialize(context)
    assert service.signature()["input_type"] == "application/json"
    with caplog.at_level(logging.INFO):
        assert service.handle([{"body": b"{'x': 4}"}], context) == [8]
    assert "inference time" in caplog.text
    manifest["Model"]["Signature"] = "other.json"
    with pytest.raises(ValueError, match="Signature file"):
        service.initialize(context)


def test_metrics_are_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        emit_metrics(["a.Count:1"])
        emit_metrics(None)
    assert caplog.messages == ["[METRICS]a.Count:1"]


def test_files_are_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    copy_files(tmp_path, tmp_path, {"a": "b"})
    assert (tmp_path / "b").read_text() == "x"


def test_processor_is_the_one_of_the_context() -> None:
    assert isinstance(Service.retrieve_data_for_inference([REQUEST])[0][0], RequestProcessor)
