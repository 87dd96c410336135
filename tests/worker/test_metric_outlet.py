"""Where the values of metrics go, without a server."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tserve_worker.metrics import _outlet
from tserve_worker.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl


@pytest.fixture
def messages() -> Iterator[list[list[str]]]:
    """What was sent, message by message."""
    sent: list[list[str]] = []
    _outlet.install(_outlet.Outlet(sent.append))
    yield sent
    _outlet.install(None)


def metrics() -> MetricsCacheYamlImpl:
    cache = MetricsCacheYamlImpl()
    cache.model_name = "m"
    cache.set_request_ids({0: "r0", 1: "r1"})
    return cache


def test_the_values_of_a_batch_are_one_message(messages: list[list[str]]) -> None:
    _outlet.gather()
    cache = metrics()
    for number in range(100):
        cache.add_counter("Seen", number)
    cache.add_time("Took", 1.5, idx=1)
    assert messages == []
    _outlet.flush()
    (lines,) = messages
    assert len(lines) == 101
    assert lines[0].startswith("Seen.Count:0|#ModelName:m,Level:Model|#type:COUNTER|#hostname:")
    assert lines[-1].startswith("Took.Milliseconds:1.5|")
    assert lines[-1].endswith(",r1")


def test_what_is_reported_between_batches_goes_at_once(messages: list[list[str]]) -> None:
    metrics().add_counter("Seen", 1)
    metrics().add_counter("Seen", 2)
    assert [len(lines) for lines in messages] == [1, 1]


def test_a_flood_is_cut_into_messages_and_bounded(messages: list[list[str]]) -> None:
    _outlet.gather()
    for _ in range(2 * _outlet.MOST_LINES):
        _outlet.send("[METRICS]" + "x" * 100)
    _outlet.send("[METRICS]" + "x" * 2 * _outlet.LONGEST_LINE)
    _outlet.flush()
    sizes = [sum(map(len, lines)) for lines in messages]
    assert sum(map(len, messages)) == _outlet.MOST_LINES
    assert max(sizes) <= _outlet.MOST_CHARACTERS


def test_without_a_server_values_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        metrics().add_counter("Seen", 1)
    assert caplog.messages[0].startswith("[METRICS]Seen.Count:1|#ModelName:m,Level:Model|")


def test_a_forked_process_logs_its_values(messages: list[list[str]]) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"sent" if _outlet.send("[METRICS]x") else b"logged")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"logged"
    assert messages == []
