"""Request envelopes: what the handler sees of a body, and the client of a result."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

SEEN = """
SEEN = []
def handle(data, context):
    if data is None:
        return None
    SEEN.append(data)
    return RESULT(data)
"""


@pytest.fixture
def wrapped(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serve a handler behind an envelope; returns (served, what the handler was given)."""

    def load(envelope: str, result: Callable[[Any], Any], **options: Any) -> tuple[Any, list[Any]]:
        served = serve("seen.py", {"seen.py": SEEN}, envelope=envelope, **options)
        names = served.model.entry_point.__self__._handle_fn.__globals__
        names["RESULT"] = result
        return served, names["SEEN"]

    return load


def test_body(wrapped: Callable[..., Any]) -> None:
    served, seen = wrapped("body", lambda data: [str(value) for value in data])
    batch = served.ask({"data": "a", "body": "b"}, {"body": [1]}, {"data": "", "body": "c"}, {})
    assert seen == [["a", [1], "c", None]]
    assert batch.bodies == [b"a", b"[1]", b"c", b"None"]


def test_json(wrapped: Callable[..., Any]) -> None:
    served, seen = wrapped("json", lambda data: list(range(len(data))))
    encoded = base64.b64encode(b"raw").decode()
    batch = served.ask(
        {"body": {"instances": [{"b64": encoded}, 1]}},
        {"body": {"instances": [{"image": {"b64": encoded}, "n": 1}]}},
        {"body": {"instances": [1, {"b64": encoded}]}},
        {"instances": ["part"]},
    )
    assert seen == [[b"raw", 1, {"image": b"raw", "n": 1}, 1, {"b64": encoded}, "part"]]
    assert batch.bodies == [
        b'{"predictions": [0, 1]}',
        b'{"predictions": [2]}',
        b'{"predictions": [3, 4]}',
        b'{"predictions": [5]}',
    ]


def test_json_needs_a_parsed_body(wrapped: Callable[..., Any]) -> None:
    served, _ = wrapped("json", lambda data: data)
    assert served.ask({"body": bytearray(b"{}")}).failure == (503, "Prediction failed")
    assert served.ask({"body": {"instances": []}}).failure == (503, "Prediction failed")
    assert served.ask({"body": {"inputs": []}}).failure == (503, "Prediction failed")


@pytest.mark.parametrize(
    ("explain", "key"), [("True", "explanations"), ("False", "predictions"), (None, "predictions")]
)
def test_kserve(wrapped: Callable[..., Any], explain: str | None, key: str) -> None:
    served, seen = wrapped("kserve", lambda data: [value * 2 for value in data])
    headers = {"explain": explain} if explain else {}
    for body in ({"instances": [1, 2]}, bytearray(b'{"instances": [1, 2]}')):
        assert served.body({"body": body}, **headers) == {key: [2, 4]}
    assert seen == [[1, 2]] * 2


def test_kserve_answers_one_request(wrapped: Callable[..., Any]) -> None:
    served, _ = wrapped("kserve", lambda data: data)
    row = {"body": {"instances": [1]}}
    assert served.ask(row, row).failure == (503, "number of batch response mismatched")


def test_kservev2(wrapped: Callable[..., Any]) -> None:
    pytest.importorskip("numpy")
    served, seen = wrapped("kservev2", lambda data: [entry["data"] for entry in data])
    body = {
        "id": "mine",
        "inputs": [
            {"name": "a", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
            {"name": "b", "shape": [1], "datatype": "BYTES", "data": ["text", "more"]},
            {"name": "c", "shape": [1], "datatype": "FP32", "data": [0.5]},
            {"name": "d", "shape": [1], "datatype": "BOOL", "data": [True]},
        ],
    }
    answer = served.body({"body": json.dumps(body).encode()})
    assert [entry["data"] for entry in seen[0]] == [[[1, 2], [3, 4]], "text", [0.5], [True]]
    assert answer == {
        "id": "mine",
        "model_name": "m",
        "model_version": "1.0",
        "outputs": [
            {"name": "a", "datatype": "INT64", "data": [1, 2, 3, 4], "shape": [4]},
            {"name": "b", "datatype": "BYTES", "data": ["text"], "shape": [1]},
            {"name": "c", "datatype": "FP64", "data": [0.5], "shape": [1]},
            {"name": "d", "datatype": "BOOL", "data": [True], "shape": [1]},
        ],
    }
    assert not hasattr(served.context, "input_names")


def test_kservev2_takes_the_request_s_own_id(wrapped: Callable[..., Any]) -> None:
    pytest.importorskip("numpy")
    served, _ = wrapped("kservev2", lambda data: [1])
    inputs = [{"name": "a", "shape": [1], "datatype": "INT64", "data": [1]}]
    assert served.body({"body": {"inputs": inputs}})["id"] == "id-0"
    too_many, _ = wrapped("kservev2", lambda data: [1, 2])
    assert too_many.ask({"body": {"inputs": inputs}}).failure == (503, "Prediction failed")


@pytest.mark.parametrize("envelope", ["body", "json", "kserve", "kservev2"])
def test_nothing_falsy_is_wrapped(wrapped: Callable[..., Any], envelope: str) -> None:
    served, _ = wrapped(envelope, lambda data: [])
    wrapper = served.model.entry_point.__self__
    assert wrapper.handle(None, served.context) is None
    assert wrapper.handle([], served.context) == []
