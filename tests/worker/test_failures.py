"""What a batch gets when its handler fails, and that the worker lives on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

CODE = """
from ts.utils.util import PredictionException
class Teapot(PredictionException):
    pass
class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no text")
def handle(data, context):
    if data is None:
        return None
    what = data[0]["body"]
    if what.startswith("raise "):
        context.set_response_status(201, "Made", 0)
        exec(what, globals())
    return ["ok"] * len(data)
"""


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    """A handler that raises what it is told to."""
    return serve("failing.py", {"failing.py": CODE})


@pytest.mark.parametrize(
    ("statement", "failure"),
    [
        ("raise PredictionException('went wrong')", (500, "went wrong")),
        ("raise PredictionException('no such thing', 404)", (404, "no such thing")),
        ("raise PredictionException('too big', 413)", (413, "too big")),
        ("raise PredictionException('odd', 499)", (499, "odd")),
        ("raise PredictionException('odd', 'x')", (500, "odd")),
        ("raise PredictionException('odd', 7)", (500, "odd")),
        ("raise PredictionException(None, 400)", (400, "None")),
        ("raise PredictionException('\\ud800', 400)", (400, "?")),
        ("raise Teapot('short and stout', 418)", (418, "short and stout")),
        ("raise MemoryError('none left')", (507, "Out of resources")),
        ("raise RuntimeError('CUDA out of memory')", (507, "Out of resources")),
        ("raise ValueError('something about CUDA')", (507, "Out of resources")),
        ("raise ValueError('bad value')", (503, "Prediction failed")),
        ("raise KeyError('x')", (503, "Prediction failed")),
        ("raise StopIteration", (503, "Prediction failed")),
        ("raise OverflowError('math range error')", (503, "Prediction failed")),
        ("raise ConnectionError('upstream')", (503, "Prediction failed")),
        ("raise AssertionError", (503, "Prediction failed")),
        ("raise Rude", (503, "Prediction failed")),
    ],
)
def test_exception_becomes_an_answer_for_all(
    served: Any, statement: str, failure: tuple[int, str]
) -> None:
    assert served.ask(statement, "another").failure == failure
    assert served.ask("fine").bodies == [b"ok"], "the worker serves the next batch"


def test_exception_with_the_status_of_success_is_one(served: Any) -> None:
    batch = served.ask("raise PredictionException('fine?', 200)", "another")
    assert batch.answer["items"] == [(b"error", 200, None, {})] * 2


@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_exits_end_the_worker(served: Any, statement: str) -> None:
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        served.ask(statement)


def test_traceback_is_logged_whole(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    served.ask("raise ValueError('bad value')")
    assert "Invoking custom service failed." in caplog.text
    assert "Traceback (most recent call last)" in caplog.text
    assert "failing.py" in caplog.text
    assert "ValueError: bad value" in caplog.text


def test_log_says_what_is_wrong_with_a_result(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    served = serve("odd.py", {"odd.py": "def handle(data, context): return [{1}]\n"})
    served.ask("x")
    assert "set is not JSON" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_detail_holds_the_frames_of_the_archive(serve: Any) -> None:
    code = """
import json

def inner():
    json.loads("{")

def handle(data, context):
    if data is None:
        return None
    try:
        inner()
    except ValueError as error:
        raise RuntimeError("x" * 5000) from error
"""
    detail = serve("deep.py", {"deep.py": code}).ask("x").answer["detail"]
    assert detail["exception"] == "RuntimeError"
    assert detail["message"] == "x" * 2048
    assert 'File "deep.py", line 5, in inner' in detail["traceback"]
    assert 'File "deep.py", line 13, in handle' in detail["traceback"]
    assert "decoder.py" not in detail["traceback"]
    assert len(detail["traceback"]) <= 8 * 1024


def test_text_that_raises_does_not_hide_the_exception(serve: Any) -> None:
    code = """
class Rude(Exception):
    def __str__(self):
        raise ValueError("no text")

def handle(data, context):
    if data is not None:
        raise Rude
"""
    batch = serve("rude.py", {"rude.py": code}).ask("x")
    assert batch.failure == (503, "Prediction failed")
    assert batch.answer["detail"]["exception"] == "Rude"
