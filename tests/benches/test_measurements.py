"""Every command of `benches/run.py`, as short as it can be, against the real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]


def test_servers_are_compared_and_the_absent_are_named(measure: Measure) -> None:
    words = ("--rounds", "2", "--seconds", "0.3", "--retries", "0", "--connections", "64")
    results = measure("compare", *words, "--workloads", "noop")
    cells = results["cells"]
    assert [(cell["server"], cell["round"]) for cell in cells] == [
        ("tserve", 1),
        ("floor", 1),
        ("tserve", 2),
        ("floor", 2),
    ]
    for cell in cells:
        assert cell["requests"] > 0
        assert (cell["wrong"], cell["broken"]) == (0, 0)
        assert cell["cpu_us"] > 0
        assert cell["pss_mib"] > 0
    assert set(results["left_out"]) == {"torchserve", "mosec", "triton"}
    assert "left out: mosec: mosec is not installed" in results["output"]
    assert not results["failures"]


def test_an_open_loop_runs_at_a_share_of_the_capacity(measure: Measure) -> None:
    words = ("--workloads", "device", "--seconds", "1", "--capacity-seconds", "0.5")
    (run,) = measure("open", *words, "--share", "0.3", "--watch", "1")["open"]
    assert 0 <= run["unsteady"] < 1
    assert run["offered_rps"] == pytest.approx(0.3 * run["capacity_rps"], rel=1e-3)
    assert (run["wrong"], run["broken"]) == (0, 0)
    assert run["p50_us"] >= run["service_p50_us"]


def test_idle_memory_is_measured_with_and_without_models(measure: Measure) -> None:
    (run,) = measure("idle", "--starts", "1", "--models", "2")["idle"]
    assert 1 < run["resident_mib"][0] < 500
    assert 0 < run["ready_ms"][0] < 30_000
    assert run["models"] == 2


def test_seeing_everything_is_compared_with_seeing_nothing(measure: Measure) -> None:
    words = ("--visits", "1", "--turns", "2", "--seconds", "0.3", "--traced", "0.5")
    results = measure("observed", *words)
    assert [run["turn"] for run in results["observed"]] == [0, 1]
    assert all(
        run[which]["rps"] > 0 for run in results["observed"] for which in ("on", "traced", "off")
    )
    assert "spans of 50 % of the requests | costs under 3 % of throughput" in results["report"]


def test_more_workers_of_a_sleeping_handler_answer_more(measure: Measure) -> None:
    words = ("--workers", "1,2", "--rounds", "1", "--seconds", "0.5")
    one, two = measure("scaling", *words)["scaling"]
    assert (one["workers"], two["workers"]) == (1, 2)
    assert two["rps"] > 1.2 * one["rps"]
