"""What a handler may return, and what it may say about the answer."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

RETURN = """
def handle(data, context):
    return None if data is None else RESULT(data, context)
"""


@pytest.fixture
def answer(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serve a handler whose result is computed by a function, and ask it once."""

    def ask(result: Callable[..., Any], *rows: Any) -> Any:
        served = serve("returns.py", {"returns.py": RETURN})
        served.model.entry_point.__globals__["RESULT"] = result
        return served.ask(*(rows or ("x",)))

    return ask


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"mutable"), b"mutable"),
        ("plain é世", "plain é世".encode()),
        ("", b""),
        ({"b": 1, "a": [1, None]}, b'{\n  "b": 1,\n  "a": [\n    1,\n    null\n  ]\n}'),
        ([1, "two", 3.5, None, True], b'[\n  1,\n  "two",\n  3.5,\n  null,\n  true\n]'),
        ([], b"[]"),
        ((1, 2), b"[\n  1,\n  2\n]"),
        (42, b"42"),
        (0.1, b"0.1"),
        (True, b"true"),
        (None, b"null"),
        (math.nan, b"NaN"),
        ([math.inf, -math.inf], b"[\n  Infinity,\n  -Infinity\n]"),
        ({"u": "é"}, b'{\n  "u": "\\u00e9"\n}'),
        ({1: "one", 2.5: "f", None: "n"}, None),
    ],
)
def test_item_becomes_body(answer: Callable[..., Any], value: Any, body: bytes | None) -> None:
    got = answer(lambda data, context: [value]).bodies[0]
    assert got == (json.dumps(value, indent=2).encode() if body is None else body)


class Odd:
    def __repr__(self) -> str:
        return "odd"


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [{1}, Odd(), {(1, 2): 3}, circular(), "\ud800", memoryview(b"x"), {"x": b"y"}]
)
def test_item_of_no_known_type_fails_the_batch(answer: Callable[..., Any], value: Any) -> None:
    batch = answer(lambda data, context: ["fine", value], "a", "b")
    assert batch.failure == (503, "Unsupported model output data type.")


def test_item_too_deep_for_json_fails_the_batch(answer: Callable[..., Any]) -> None:
    batch = answer(lambda data, context: [nested()])
    assert batch.failure == (503, "Unsupported model output data type.")


@pytest.mark.parametrize(
    "result", [{"oops": 1}, "x", ("x",), None, 1, (x for x in "x"), b"x", {"x"}]
)
def test_result_must_be_a_list(answer: Callable[..., Any], result: Any) -> None:
    assert answer(lambda data, context: result).failure == (503, "Invalid model predict output")


def test_subclass_of_list_is_a_list(answer: Callable[..., Any]) -> None:
    class Rows(list[str]):
        pass

    assert answer(lambda data, context: Rows(["sub"])).bodies == [b"sub"]


@pytest.mark.parametrize("result", [[], ["x"], ["x"] * 3])
def test_result_must_have_the_length_of_the_batch(answer: Callable[..., Any], result: Any) -> None:
    batch = answer(lambda data, context: result, "a", "b")
    assert batch.failure == (503, "number of batch response mismatched")


def test_numpy_scalars_follow_json(answer: Callable[..., Any]) -> None:
    numpy = pytest.importorskip("numpy")
    assert answer(lambda data, context: [numpy.float64(0.5)]).bodies == [b"0.5"]
    for value in (numpy.float32(0.5), numpy.zeros(2)):
        batch = answer(lambda data, context, value=value: [value])
        assert batch.failure == (503, "Unsupported model output data type.")


def test_tensor_is_saved(answer: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch")
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (body,) = answer(lambda data, context: [value]).bodies
    assert torch.equal(torch.load(io.BytesIO(body)), value)
    batch = answer(lambda data, context: [{"t": value}])
    assert batch.failure == (503, "Unsupported model output data type.")
    assert answer(lambda data, context: value).failure == (503, "Invalid model predict output")


def test_defaults_of_an_answer(answer: Callable[..., Any]) -> None:
    batch = answer(lambda data, context: ["done"])
    assert batch.answer["message"] == "Prediction success"
    assert batch.answer["items"] == [(b"done", 200, None, {})]


def test_status_and_headers_per_request(answer: Callable[..., Any]) -> None:
    def result(data: Any, context: Any) -> list[str]:
        context.set_all_response_status(code=201, phrase="Made")
        context.set_response_status(404, "Nope", 1)
        context.set_response_header(0, "X-Mine", "1")
        context.set_response_header(0, "X-Mine", "2")
        context.set_response_content_type(1, "text/x")
        assert context.get_response_content_type(1) == "text/x"
        assert context.get_response_status(0) == (201, "Made")
        assert context.get_response_headers(0) == {"X-Mine": "2"}
        return ["a", "b"]

    items = answer(result, "a", "b").answer["items"]
    assert items[0] == (b"a", 201, "Made", {"X-Mine": "2"})
    assert items[1] == (b"b", 404, "Nope", {"content-type": "text/x"})


def test_status_and_headers_do_not_outlive_their_batch(serve: Callable[..., Any]) -> None:
    served = serve("returns.py", {"returns.py": RETURN})

    def result(data: Any, context: Any) -> list[str]:
        if data[0]["body"] == "first":
            context.set_response_status(202, "Queued", 0)
            context.set_response_header(0, "x-a", "b")
        return ["ok"]

    served.model.entry_point.__globals__["RESULT"] = result
    assert served.ask("first").answer["items"] == [(b"ok", 202, "Queued", {"x-a": "b"})]
    assert served.ask("second").answer["items"] == [(b"ok", 200, None, {})]


@pytest.mark.parametrize(
    ("key", "value"),
    [("x-n", 5), ("x-n", None), (5, "x"), ("x-n", b"x"), ("bad name", "x"), ("", "x"),
     ("x-n", "a\r\nx-evil: 1"), ("x-n", "a\0")],
)  # fmt: skip
def test_header_that_cannot_be_sent_fails_the_batch(
    answer: Callable[..., Any], key: Any, value: Any
) -> None:
    def result(data: Any, context: Any) -> list[str]:
        context.set_response_header(0, key, value)
        return ["ok"]

    assert answer(result).failure == (503, "Invalid response status or header")


@pytest.mark.parametrize("status", ["404", None, 20, 1000, -1, 4.5])
def test_status_that_cannot_be_sent_fails_the_batch(
    answer: Callable[..., Any], status: Any
) -> None:
    def result(data: Any, context: Any) -> list[str]:
        context.set_response_status(code=status, idx=0)
        return ["ok"]

    assert answer(result).failure == (503, "Invalid response status or header")


def test_phrase_of_two_lines_fails_the_batch(answer: Callable[..., Any]) -> None:
    def result(data: Any, context: Any) -> list[str]:
        context.set_response_status(200, "OK\r\nx-evil: 1", 0)
        return ["ok"]

    assert answer(result).failure == (503, "Invalid response status or header")


def test_phrase_and_header_may_be_any_language(answer: Callable[..., Any]) -> None:
    def result(data: Any, context: Any) -> list[str]:
        context.set_response_status(200, "好", 0)
        context.set_response_header(0, "x-a", "é世")
        return ["ok"]

    assert answer(result).answer["items"] == [(b"ok", 200, "好", {"x-a": "é世"})]


def test_reply_that_never_fits_becomes_an_error(serve: Callable[..., Any]) -> None:
    served = serve("big.py", {"big.py": "def handle(data, context):\n    return ['x' * 100]\n"})
    assert served.ask("x", limit=99).failure == (500, "Response is too large")
    assert served.ask("x", limit=100).bodies == [b"x" * 100]
