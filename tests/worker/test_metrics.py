"""``context.metrics``: what becomes a line, and which."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tserve_worker.metrics.caching_metric import CachingMetric
from tserve_worker.metrics.dimension import Dimension
from tserve_worker.metrics.metric import Metric
from tserve_worker.metrics.metric_cache_errors import (
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCachePyYamlError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from tserve_worker.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from tserve_worker.metrics.metric_encoder import MetricEncoder
from tserve_worker.metrics.metric_type_enum import MetricTypes
from tserve_worker.metrics.metrics_store import MetricsStore

HOST = re.escape(socket.gethostname())


@pytest.fixture
def metrics() -> MetricsCacheYamlImpl:
    """Metrics of a model that answers two requests."""
    cache = MetricsCacheYamlImpl()
    cache.initialize_cache()
    cache.model_name = "mod"
    cache.set_request_ids({0: "r0", 1: "r1"})
    return cache


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The metric lines logged so far, host and time left out."""
    caplog.set_level(logging.INFO)

    def read() -> list[str]:
        found = [text for text in caplog.messages if text.startswith("[METRICS]")]
        return [re.sub(rf"hostname:{HOST},\d+", "HOST", text) for text in found]

    return read


def test_line_of_a_time(metrics: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    metrics.add_time("HandlerTime", 1.5)
    (line,) = caplog.messages
    assert re.fullmatch(
        r"\[METRICS\]HandlerTime\.Milliseconds:1\.5\|#ModelName:mod,Level:Model"
        rf"\|#type:GAUGE\|#hostname:{HOST},\d{{10}},r0,r1",
        line,
    )


def test_one_line_of_each_kind(metrics: Any, lines: Callable[[], list[str]]) -> None:
    metrics.add_counter("C", 2, dimensions=[Dimension("D", "c")])
    metrics.add_time("T", 12.5, None, "s", dimensions=[Dimension("D", "t")])
    metrics.add_size("S", 3, 1, "kB")
    metrics.add_percent("P", 45.0, 0)
    metrics.add_error("E", 1, dimensions=[Dimension("D", "e")])
    metrics.add_metric("H", 7, unit="things", metric_type=MetricTypes.HISTOGRAM)
    metrics.add_metric("N", 7, "count")
    metrics.add_time("PredictionTime", 1, metric_type=MetricTypes.HISTOGRAM)
    both = "ModelName:mod,Level:Model"
    assert lines() == [
        f"[METRICS]C.Count:2|#D:c,{both}|#type:COUNTER|#HOST,r0,r1",
        f"[METRICS]T.Seconds:12.5|#D:t,{both}|#type:GAUGE|#HOST,r0,r1",
        f"[METRICS]S.Kilobytes:3|#{both}|#type:GAUGE|#HOST,r1",
        f"[METRICS]P.Percent:45.0|#{both}|#type:GAUGE|#HOST,r0",
        "[METRICS]E.unit:1|#D:e,Level:Error|#type:COUNTER|#HOST",
        f"[METRICS]H.things:7|#{both}|#type:HISTOGRAM|#HOST,r0,r1",
        f"[METRICS]N.Count:7|#{both}|#type:COUNTER|#HOST,r0,r1",
        f"[METRICS]PredictionTime.Milliseconds:1|#{both}|#type:HISTOGRAM|#HOST,r0,r1",
    ]


def test_answering_a_batch_writes_no_line(
    serve: Callable[..., Any], lines: Callable[[], list[str]]
) -> None:
    served = serve("m.py", {"m.py": "def handle(data, context): return ['x'] * len(data or [])\n"})
    served.ask("a", "b")
    assert lines() == []


def test_handler_may_put_metrics_of_its_own_on_the_context(serve: Callable[..., Any]) -> None:
    code = """
def handle(data, context):
    context.metrics = None
    return data and ["x"]
"""
    served = serve("m.py", {"m.py": code})
    assert served.ask("a").bodies == [b"x"]
    assert served.ask("a").bodies == [b"x"]


def test_metrics_while_the_model_loads(metrics: Any, lines: Callable[[], list[str]]) -> None:
    metrics.set_request_ids("a-uuid")
    metrics.add_counter("Loads", 1, idx=0)
    assert lines() == [
        "[METRICS]Loads.Count:1|#ModelName:mod,Level:Model|#type:COUNTER|#HOST,a-uuid"
    ]


def test_metrics_without_requests_are_errors_only_then(
    metrics: Any, lines: Callable[[], list[str]]
) -> None:
    metrics.set_request_ids(None)
    metrics.add_counter("Early", 1)
    metrics.set_request_ids({0: "r"})
    metrics.add_counter("Late", 1, dimensions=None)
    assert lines() == [
        "[METRICS]Early.Count:1|#Level:Error|#type:COUNTER|#HOST",
        "[METRICS]Late.Count:1|#ModelName:mod,Level:Model|#type:COUNTER|#HOST,r",
    ]


def test_caller_s_dimensions_stay_his_own(metrics: Any) -> None:
    dimensions = [Dimension("D", "x")]
    metrics.add_counter("C", 1, dimensions=dimensions)
    assert [str(dimension) for dimension in dimensions] == ["D:x"]


def test_caller_s_model_name_wins(metrics: Any, lines: Callable[[], list[str]]) -> None:
    metrics.add_counter("C", 1, dimensions=[Dimension("ModelName", "other")])
    assert "#ModelName:other,Level:Model|" in lines()[0]


@pytest.mark.parametrize(
    ("method", "unit"), [("add_time", "min"), ("add_time", "MB"), ("add_size", "ms")]
)
def test_wrong_unit_raises(metrics: Any, method: str, unit: str) -> None:
    with pytest.raises(MetricsCacheValueError, match=repr(unit)):
        getattr(metrics, method)("X", 1, unit=unit)
    with pytest.raises(ValueError, match=repr(unit)):
        getattr(MetricsStore({0: "r"}, "m"), method)("X", 1, unit=unit)


def test_error_with_a_text_counts_one(
    metrics: Any, lines: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    metrics.add_error("Broken", "the camera is gone")
    assert lines() == ["[METRICS]Broken.unit:1|#Level:Error|#type:COUNTER|#HOST"]
    assert "the camera is gone" in caplog.text


def test_registered_metric(metrics: Any, lines: Callable[[], list[str]]) -> None:
    metric = metrics.add_metric_to_cache("Custom", "ms", ["A", "B"], MetricTypes.GAUGE)
    assert lines() == [], "registering reports nothing"
    assert metrics.get_metric("Custom", MetricTypes.GAUGE) is metric
    assert metrics.get_metric("HandlerTime", metric_type=MetricTypes.GAUGE).unit == "Milliseconds"
    metric.add_or_update(1, ["a", "b"])
    metric.add_or_update(2, ["a", "b"], "r9")
    metric.update(3, "r8", [Dimension("C", "c")])
    assert metric.dimension_names == ["C"]
    assert lines() == [
        "[METRICS]Custom.Milliseconds:1|#A:a,B:b|#type:GAUGE|#HOST",
        "[METRICS]Custom.Milliseconds:2|#A:a,B:b|#type:GAUGE|#HOST,r9",
        "[METRICS]Custom.Milliseconds:3|#C:c|#type:GAUGE|#HOST,r8",
    ]
    assert metrics.cache_keys() == [MetricTypes.GAUGE]
    assert metrics.cache[MetricTypes.GAUGE]["Custom"] is metric


def test_documented_keyword_registers_too(metrics: Any) -> None:
    metric = metrics.add_metric_to_cache(name="Doc", unit="count")
    assert metric.metric_name == "Doc"
    assert metric.metric_type is MetricTypes.COUNTER


@pytest.mark.parametrize(("value", "dimension_values"), [(-1, ["a"]), (1, []), (1, ["a", "b"])])
def test_wrong_value_is_logged_and_dropped(
    lines: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
    value: int,
    dimension_values: list[str],
) -> None:
    metric = CachingMetric("C", "count", ["A"], MetricTypes.COUNTER)
    metric.add_or_update(value, dimension_values)
    assert lines() == []
    assert "Failed to update metric [name: C" in caplog.text


def test_first_use_fixes_unit_and_dimensions(
    metrics: Any, lines: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    metrics.add_time("T", 1, unit="s")
    metrics.add_time("T", 2, unit="ms")
    metrics.add_time("T", 3, dimensions=[Dimension("D", "x")])
    assert [line.split("|")[0] for line in lines()] == [
        "[METRICS]T.Seconds:1",
        "[METRICS]T.Seconds:2",
    ]
    assert "Failed to update metric" in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        {"metric_name": 1, "unit": "ms"},
        {"metric_name": "", "unit": "ms"},
        {"metric_name": "a", "unit": 1},
        {"metric_name": "a", "unit": "ms", "dimension_names": "xy"},
        {"metric_name": "a", "unit": "ms", "dimension_names": [1]},
        {"metric_name": "a", "unit": "ms", "metric_type": "counter"},
    ],
)
def test_wrong_type_of_an_argument(metrics: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(MetricsCacheTypeError):
        metrics.add_metric_to_cache(**arguments)
    with pytest.raises(TypeError):
        metrics.add_metric_to_cache(**arguments)


def test_unknown_metric(metrics: Any) -> None:
    with pytest.raises(MetricsCacheKeyError, match="no metric 'Never' of type 'gauge'"):
        metrics.get_metric("Never", MetricTypes.GAUGE)
    with pytest.raises(KeyError):
        metrics.get_metric("HandlerTime")
    with pytest.raises(MetricsCacheTypeError):
        metrics.get_metric("HandlerTime", "gauge")


def test_metrics_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.yaml"
    file.write_text(
        "dimensions:\n  - &name ModelName\n"
        "model_metrics:\n"
        "  counter:\n    - {name: Calls, unit: count, dimensions: [*name]}\n"
        "  gauge:\n    - {name: Size, unit: MB, dimensions: []}\n"
        "  histogram:\n"
    )
    metrics = MetricsCacheYamlImpl(str(file))
    metrics.initialize_cache()
    assert metrics.get_metric("Calls").dimension_names == ["ModelName"]
    assert metrics.get_metric("Size", MetricTypes.GAUGE).unit == "Megabytes"
    assert metrics.config_file_path == str(file)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", MetricsCacheValueError),
        ("ts_metrics: {}", MetricsCacheValueError),
        ("model_metrics:", MetricsCacheValueError),
        ("model_metrics: [1]", MetricsCacheTypeError),
        ("model_metrics: {summary: []}", MetricsCacheValueError),
        ("model_metrics: {gauge: [{name: a, unit: ms}]}", MetricsCacheKeyError),
        ("model_metrics: {gauge: [{name: 1, unit: ms, dimensions: []}]}", MetricsCacheTypeError),
        ("model_metrics: [", MetricsCachePyYamlError),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, error: type[Exception]) -> None:
    file = tmp_path / "metrics.yaml"
    file.write_text(text)
    with pytest.raises(error):
        MetricsCacheYamlImpl(file).initialize_cache()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MetricsCacheIOError, match="cannot read the metrics configuration"):
        MetricsCacheYamlImpl(tmp_path / "absent.yaml").initialize_cache()


def test_old_metric(lines: Callable[[], list[str]]) -> None:
    metric = Metric("M", 1, "ms", [Dimension("A", "a")], "r0")
    assert re.fullmatch(rf"M\.Milliseconds:1\|#A:a\|#hostname:{HOST},\d+,r0", str(metric))
    metric.update(5)
    metric.reset()
    assert metric.value == 1
    assert lines() == [
        "[METRICS]M.Milliseconds:5|#A:a|#type:COUNTER|#HOST,r0",
        "[METRICS]M.Milliseconds:0|#A:a|#type:COUNTER|#HOST,r0",
    ]
    document = json.loads(json.dumps(metric, cls=MetricEncoder))
    assert list(document) == [
        "MetricName",
        "Value",
        "Unit",
        "Dimensions",
        "Timestamp",
        "HostName",
        "RequestId",
    ]
    assert document["Dimensions"] == [{"Name": "A", "Value": "a"}]


def test_encoder_refuses_other_things() -> None:
    with pytest.raises(TypeError):
        json.dumps({1}, cls=MetricEncoder)


def test_old_store(lines: Callable[[], list[str]]) -> None:
    store = MetricsStore({0: "r0", 1: "r1"}, "mod")
    store.add_counter("C", 1)
    store.add_counter("C", 2)
    store.add_time("T", 1, 1)
    store.add_size("S", 1)
    store.add_percent("P", 1)
    store.add_error("E", "text")
    store.add_metric("M", 1, "things")
    assert [metric.name for metric in store.store] == ["C", "T", "S", "P", "E", "M"]
    assert store.store[0].value == 1
    assert store.cache["C-count-r0,r1-ModelName:mod-Level:Model"] is store.store[0]
    assert "T-ms-r1-ModelName:mod-Level:Model" in store.cache
    assert "E--None-Level:Error" in store.cache
    assert len(lines()) == 1, "only the second value of a metric is reported at once"
