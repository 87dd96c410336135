"""The log files of a real server: forms, sizes, levels, what is left out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from conftest import ServerFactory
from harness.client import Connection
from harness.processes import wait_until
from harness.server import Server, tserve_binary


def objects(server: Server, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log_file(name).splitlines()]


def bytes_logged(server: Server) -> int:
    logs = sum(file.stat().st_size for file in (server.working / "logs").glob("*.log"))
    return logs + (server.folder / "server.out").stat().st_size


def accessed(server: Server, requests: int) -> bool:
    return server.log_file("access_log.log").count("/predictions/noop") == requests


def test_a_request_costs_at_most_200_bytes_of_log(start_server: ServerFactory) -> None:
    server = start_server("noop")
    requests = 500
    with Connection(server.port) as connection:
        connection.request("POST", "/predictions/noop", b"first")
        wait_until(lambda: accessed(server, 1), 10, "the first line")
        before = bytes_logged(server)
        for _ in range(requests):
            connection.request("POST", "/predictions/noop", b"x" * 1024)
    wait_until(lambda: accessed(server, requests + 1), 20, "all lines")
    printed = server.folder / "server.out"
    wait_until(
        lambda: printed.read_text().count("/predictions/noop") == requests + 1, 10, "all printed"
    )
    each = (bytes_logged(server) - before) / requests
    assert 50 < each <= 200, each
    assert "ACCESS_LOG" not in server.log_file("ts_log.log")


def test_lines_can_be_json(start_server: ServerFactory) -> None:
    server = start_server("raises", flags=("--ncs", "--disable-token-auth", "--json-logs"))
    answer = server.predict("raises", b"7")
    wait_until(lambda: "/predictions/raises" in server.log_file("access_log.log"), 10, "a line")
    (line,) = [it for it in objects(server, "access_log.log") if "predictions" in it["uri"]]
    assert (line["logger"], line["level"], line["status"]) == ("ACCESS_LOG", "INFO", 200)
    assert line["method"] == "POST"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert 0 < line["duration_us"] < 60e6
    assert line["time"].endswith("Z")
    wait_until(lambda: "said this" in server.log_file("model_log.log"), 10, "the model's line")
    said = [it for it in objects(server, "model_log.log") if it["message"] == "said this"]
    assert said[0]["thread"].endswith("-raises_1.0-stdout")
    assert said[0]["logger"] == "MODEL_LOG"
    assert all({"time", "level", "message"} <= set(it) for it in objects(server, "ts_log.log"))


def test_levels_change_while_the_server_runs(start_server: ServerFactory) -> None:
    server = start_server("noop")
    listed = json.loads(server.manage("GET", "/loggers").body)["loggers"]
    levels = {it["name"]: it["level"] for it in listed}
    assert levels == {"ACCESS_LOG": "info", "MODEL_LOG": "info", "root": "info"}
    assert "ACCESS_LOG is off" in server.run_client("log-level", "ACCESS_LOG", "off")
    server.predict("noop", b"unseen")
    shown = server.run_client("log-level").splitlines()
    assert shown[0].split() == ["LOGGER", "LEVEL"]
    assert ["ACCESS_LOG", "off"] in [line.split() for line in shown]
    server.run_client("log-level", "ACCESS_LOG", "info")
    server.get("/predictions/noop?seen")
    wait_until(lambda: "noop?seen" in server.log_file("access_log.log"), 10, "it is on again")
    assert server.log_file("access_log.log").count("/predictions/noop") == 1
    changed = server.manage("PUT", "/loggers?name=org.pytorch.serve&level=debug")
    assert changed.status == 200
    wrong = server.manage("PUT", "/loggers?name=root&level=loud")
    assert (wrong.status, wrong.json()["type"]) == (400, "BadRequestException")  # type: ignore[index]
    assert server.manage("PUT", "/loggers?name=root").status == 400
    lasting = json.loads(server.run_client("log-level", "--json"))["loggers"]
    assert {"name": "org.pytorch.serve", "level": "debug"} in lasting


def test_sampling_keeps_errors_and_the_slowest(start_server: ServerFactory) -> None:
    sleeper = {"name": "sleeper", "settings": {"minWorkers": 1}}
    server = start_server("noop", sleeper, config={"access_log_sampling": 0})
    # Until the percentile is known, everything is kept.
    learning, quick = 1100, 400
    with Connection(server.port) as connection:
        for _ in range(learning):
            connection.request("POST", "/predictions/noop", b"x")
        for number in range(quick):
            connection.request("POST", f"/predictions/noop/1.0?{number}", b"x")
    server.get("/predictions/absent")
    server.predict("sleeper", b"0.3")
    log = "access_log.log"
    wait_until(lambda: "/predictions/sleeper" in server.log_file(log), 10, "the slow one is kept")
    assert "/predictions/absent" in server.log_file(log)
    kept = server.log_file(log).count("/predictions/noop/1.0?")
    assert kept < quick / 2, kept


def test_a_message_that_repeats_is_counted(start_server: ServerFactory) -> None:
    server = start_server("raises", config={"log_repeat_limit": 5})
    with Connection(server.port) as connection:
        for _ in range(40):
            connection.request("POST", "/predictions/raises", b"1")
    server.stop()
    written = server.log_file("model_log.log").count("said this")
    assert written == 5
    counted = [line for line in server.log_file("ts_log.log").splitlines() if "repeated" in line]
    assert any("said this (repeated 35 times within 10 s)" in line for line in counted), counted


def test_files_are_put_aside_by_size(start_server: ServerFactory) -> None:
    limits = {"log_max_file_size": 20_000, "log_max_files": 2}
    server = start_server("noop", config=limits)
    with Connection(server.port) as connection:
        for _ in range(1500):
            connection.request("POST", "/predictions/noop", b"1")
    folder = server.working / "logs"
    aside = ["access_log.log.1.gz", "access_log.log.2.gz"]
    wait_until(
        lambda: sorted(it.name for it in folder.glob("access_log.log.*")) == aside, 10, "rotated"
    )


def test_a_log4j2_file_says_levels_and_sizes(start_server: ServerFactory, tmp_path: Path) -> None:
    file = tmp_path / "log4j2.xml"
    file.write_text(
        """<Configuration><Appenders><RollingFile name="a"><Policies>
        <SizeBasedTriggeringPolicy size="5 KB"/></Policies><DefaultRolloverStrategy max="1"/>
        </RollingFile></Appenders><Loggers><Logger name="MODEL_LOG" level="off"/></Loggers>
        </Configuration>"""
    )
    flags = ("--ncs", "--disable-token-auth", "--log-config", str(file))
    server = start_server("noop", flags=flags)
    with Connection(server.port) as connection:
        for _ in range(300):
            connection.request("POST", "/predictions/noop", b"1")
    folder = server.working / "logs"
    wait_until(lambda: (folder / "access_log.log.1.gz").exists(), 10, "rotated")
    assert server.log_file("model_log.log") == ""
    assert "layouts and names of files have no effect" in server.log_file("ts_log.log")


def test_an_output_that_nobody_reads_slows_nothing(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    """A pipe that runs full holds up neither requests nor files."""
    fifo = tmp_path / "output"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        shell = ["/bin/sh", "-c", f'exec "$0" "$@" > {fifo}', str(tserve_binary())]
        server = start_server("noop", command=shell)
        requests = 2000
        with Connection(server.port, timeout=5) as connection:
            for _ in range(requests):
                assert connection.request("POST", "/predictions/noop", b"1").status == 200
        wait_until(lambda: accessed(server, requests), 20, "all lines are in the file")
        server.stop()
    finally:
        os.close(reader)
