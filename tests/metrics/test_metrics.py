"""The metrics of a real server, read by Prometheus's own parser."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import ServerFactory
from harness.metrics import samples, scrape, settled, total
from harness.processes import kill, wait_until

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "tserve.json"

CONFIG = """
dimensions:
  - &model_name "ModelName"
  - &level "Level"
ts_metrics:
  counter:
    - {name: Requests2XX, unit: Count, dimensions: [Level, Hostname]}
    - name: ts_inference_requests_total
      unit: Count
      dimensions: [model_name, model_version, hostname]
model_metrics:
  counter:
    - {name: Seen, unit: count, dimensions: [*model_name, *level]}
    - {name: Printed, unit: Count, dimensions: [*model_name, *level]}
  gauge:
    - {name: Size, unit: MB, dimensions: [*model_name, *level]}
    - {name: PredictionTime, unit: ms, dimensions: [*model_name, *level]}
  histogram:
    - {name: Spread, unit: count, dimensions: [*model_name, *level]}
"""


def test_counters_agree_with_the_requests_that_were_sent(start_server: ServerFactory) -> None:
    server = start_server("batches", config={"metrics_mode": "prometheus"})
    before = total(samples(scrape(server)), "Requests2XX")
    for _ in range(5):
        assert server.predict("batches", b"x").status == 200
    assert server.predict("batches/1.0", b"x").status == 200
    assert server.predict("batches", b"raise").status == 503
    assert server.predict("nothing", b"x").status == 404
    found = samples(scrape(server))
    requests = "ts_inference_requests_total"
    assert total(found, requests, model_name="batches", model_version="default") == 6
    assert total(found, requests, model_name="batches", model_version="1.0") == 1
    assert total(found, "Requests2XX") - before == 6 + 1, "a scrape counts, too, afterwards"
    assert total(found, "Requests4XX") == 1
    assert total(found, "Requests5XX") == 1
    assert total(found, "ts_inference_latency_microseconds", model_version="1.0") > 0
    names = ["CPUUtilization", "MemoryUsed", "DiskAvailable", "WorkerLoadTime", "PredictionTime"]
    wait_until(lambda: set(names) <= set(samples(scrape(server))), 20, "figures of the machine")
    text = scrape(server)
    assert "# TYPE GPUUtilization gauge\n" in text, "families without samples are there as well"
    filtered = scrape(server, f"/metrics?name[]={requests}&name[]=nothing")
    assert set(samples(filtered)) == {requests}
    assert scrape(server, "/metrics?name[]=nothing") == ""

    own = samples(scrape(server, "/metrics/tserve"))
    mine = {"model": "batches", "version": "1.0"}
    assert total(own, "tserve_requests_total", outcome="answered", **mine) == 6
    assert total(own, "tserve_requests_total", outcome="failed", **mine) == 1
    assert total(own, "tserve_request_duration_seconds_count", **mine) == 6
    assert total(own, "tserve_batch_size_count", **mine) == 7
    assert total(own, "tserve_batches_total", reason="full", **mine) == 7
    assert total(own, "tserve_workers", state="ready", **mine) == 1
    assert total(own, "tserve_requests_in_flight", **mine) == 0
    assert total(own, "tserve_worker_resident_bytes", **mine) > 1 << 20
    shown = samples(scrape(server, "/metrics?name[]=tserve_batch_size_count"))
    assert set(shown) == {"tserve_batch_size_count"}


def test_metrics_of_handlers_arrive_from_the_socket_and_from_what_they_print(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    config = tmp_path / "metrics.yaml"
    config.write_text(CONFIG)
    server = start_server(
        "metered", config={"metrics_mode": "prometheus", "metrics_config": config}
    )
    for _ in range(3):
        assert server.predict("metered", b"0").text == "metered"
    settled(server, "/metrics", "Printed", 6, ModelName="metered")
    found = settled(server, "/metrics", "Seen", 3, ModelName="metered")
    assert total(found, "Size", Level="Model") == 3.5
    assert total(found, "Spread_count") == 3
    assert total(found, "Spread_bucket", le="7.5") == 3
    assert total(found, "Spread_bucket", le="5.0") == 0
    assert "Unlisted" not in scrape(server)
    own = samples(scrape(server, "/metrics/tserve"))
    refused = "tserve_handler_measurements_refused_total"
    assert total(own, refused, reason="unknown", model="metered") == 3
    assert "METRICS" not in server.log_file("model_log.log")


def test_in_mode_log_the_page_is_empty_and_the_files_have_the_lines(
    start_server: ServerFactory,
) -> None:
    server = start_server("metered", config={"model_metrics_auto_detect": "true"})
    for _ in range(3):
        server.predict("metered", b"0")
    assert scrape(server) == ""

    def lines(name: str) -> list[str]:
        return [line.partition(" - ")[2] for line in server.log_file(name).splitlines()]

    def counted(name: str, start: str) -> float:
        matching = [line for line in lines(name) if line.startswith(start)]
        return sum(float(re.split(r"[:|]", line)[1]) for line in matching)

    requests = "ts_inference_requests_total.Count:"
    wait_until(lambda: counted("ts_metrics.log", requests) == 3, 20, "three requests in the log")
    wait_until(lambda: counted("model_metrics.log", "Printed.Count:") == 6, 20, "printed lines")
    pattern = (
        r"Seen\.Count:1\.0\|#ModelName:metered,Level:Model"
        r"\|#hostname:[^,]+,requestID:[0-9a-f-]{36},timestamp:\d+"
    )
    wait_until(
        lambda: sum(bool(re.fullmatch(pattern, line)) for line in lines("model_metrics.log")) == 3,
        20,
        "lines of the handler",
    )
    assert any(line.startswith("PredictionTime.ms:") for line in lines("model_metrics.log"))
    assert any(line.startswith("CPUUtilization.Percent:") for line in lines("ts_metrics.log"))


def test_a_metrics_file_that_is_wrong_costs_the_metrics_only(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    config = tmp_path / "metrics.yaml"
    config.write_text(CONFIG.replace("unit: MB", 'unit: ""'))
    server = start_server("noop", config={"metrics_mode": "prometheus", "metrics_config": config})
    assert server.predict("noop", b"").status == 200
    assert scrape(server) == ""
    assert "metrics_config cannot be used" in server.log_file("ts_log.log")


def test_a_flood_of_measurements_costs_neither_worker_nor_server(
    start_server: ServerFactory,
) -> None:
    config = {"metrics_mode": "prometheus", "model_metrics_auto_detect": "true"}
    server = start_server("flood", config=config)
    pids = server.worker_pids("flood")
    for _ in range(2):
        assert server.predict("flood", b"", timeout=60).text == "flooded"
    own, refused = "/metrics/tserve", "tserve_handler_measurements_refused_total"
    # The worker sends 10,000 of each call; the server counts 1,000 series, here twice.
    settled(server, own, refused, 2 * (10_000 - 1000), reason="too_many")
    assert total(samples(scrape(server)), "Flood") == 2 * 1000
    assert server.worker_pids("flood") == pids


def test_what_waits_and_what_was_lost_is_told(start_server: ServerFactory) -> None:
    server = start_server("sleeper", {"name": "trouble"})
    own, waiting = "/metrics/tserve", {"model": "sleeper", "version": "1.0"}
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(server.predict, "sleeper", b"2") for _ in range(2)]
        found = settled(server, own, "tserve_queue_depth", 1, **waiting)
        assert total(found, "tserve_requests_in_flight", **waiting) == 2
        age = "tserve_queue_oldest_age_seconds"
        wait_until(lambda: total(samples(scrape(server, own)), age, **waiting) > 0.1, 20, "age")
        assert [answer.result().status for answer in answers] == [200, 200]
    found = settled(server, own, "tserve_queue_depth", 0, **waiting)
    assert total(found, age, **waiting) == 0
    kill(server.worker_pids("trouble")[0])
    lost = {"model": "trouble", "reason": "exit"}
    settled(server, own, "tserve_worker_failures_total", 1, **lost)


def test_every_metric_of_the_dashboard_is_there(start_server: ServerFactory) -> None:
    server = start_server("noop", config={"extended_metrics": "true"})
    server.predict("noop", b"")
    names = set(samples(scrape(server)))
    assert names == set(samples(scrape(server, "/metrics/tserve")))
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(targets) > 10
    used = {name for it in targets for name in re.findall(r"\btserve_\w+", it["expr"])}
    variables = json.dumps(dashboard["templating"])
    used |= set(re.findall(r"\btserve_\w+", variables))
    assert used
    assert used <= names, used - names
