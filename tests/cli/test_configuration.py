"""Where settings come from, what is warned about, and the logs that say so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Command

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} \[(ERROR|WARN |INFO |DEBUG)\] \S+ \S+ - ")


def served_log(tserve: Command, *words: str, **environment: str) -> str:
    """The server log of a server that was started and stopped."""
    server = tserve.serve(*words, **environment)
    server.terminate()
    assert server.wait(30) == 0
    return tserve.log()


def test_warnings_name_file_line_and_key(tserve: Command) -> None:
    name = tserve.config("job_queue_sise=5\ninitial_distribution_port=7\nvmargs=-Xmx1g\n")
    log = served_log(tserve, "--ts-config", name)
    assert "test.properties:8: unknown key job_queue_sise; did you mean job_queue_size?" in log
    assert "test.properties:9: initial_distribution_port has no effect: all workers " in log
    assert "test.properties:10: vmargs has no effect: tserve runs without Java" in log


def test_lines_have_the_form_of_the_original_and_reach_standard_output(tserve: Command) -> None:
    log = served_log(tserve, "--ts-config", tserve.config("nonsense=1"))
    assert all(LINE.match(line) for line in log.splitlines()), log
    output = tserve.output.read_text()
    for line in log.splitlines():
        assert line in output


def test_every_log_file_of_the_original_is_made(tserve: Command, tmp_path: Path) -> None:
    logs, metrics = tmp_path / "deep" / "logs", tmp_path / "metrics"
    server = tserve.serve(
        "--ts-config",
        tserve.config(),
        LOG_LOCATION=str(logs),
        METRICS_LOCATION=str(metrics),
    )
    server.terminate()
    server.wait(30)
    found = sorted(path.name for path in logs.iterdir() if path.is_file())
    assert found == ["access_log.log", "model_log.log", "ts_log.log"]
    assert sorted(path.name for path in metrics.iterdir()) == [
        "model_metrics.log",
        "ts_metrics.log",
    ]


def test_a_log_folder_that_cannot_be_written_does_not_stop_the_server(
    tserve: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    tserve.serve("--ts-config", tserve.config(), LOG_LOCATION=str(tmp_path / "file"))
    assert "ts_log.log cannot be written" in tserve.output.read_text()


def test_the_file_in_the_working_folder_is_enough(tserve: Command) -> None:
    tserve.config(f"model_store={tserve.store}\nnonsense=1", name="config.properties")
    assert tserve.run("--start").returncode == 0
    log = tserve.cwd / "logs" / "ts_log.log"
    warning = "config.properties:9: unknown key nonsense"
    tserve.wait_until(lambda: log.exists() and warning in log.read_text(), warning)


def test_a_named_file_replaces_the_one_in_the_working_folder(tserve: Command) -> None:
    (tserve.cwd / "config.properties").write_text("job_queue_size=broken\n")
    log = served_log(tserve, "--ts-config", tserve.config())
    assert "broken" not in log


def test_variables_without_the_switch_are_mentioned(tserve: Command) -> None:
    log = served_log(tserve, "--ts-config", tserve.config(), TS_JOB_QUEUE_SIZE="broken")
    assert "environment variable TS_JOB_QUEUE_SIZE has no effect" in log


def test_variables_with_the_switch_are_checked(tserve: Command) -> None:
    name = tserve.config("enable_envvars_config=true")
    done = tserve.run(
        "--model-store", str(tserve.store), "--ts-config", name, TS_JOB_QUEUE_SIZE="broken"
    )
    assert done.returncode == 1
    assert done.stderr == (
        'environment variable TS_JOB_QUEUE_SIZE: job_queue_size: "broken" is not a whole number '
        "from 1 to 2147483647\n"
    )


def test_tokens_are_on_until_they_are_switched_off(tserve: Command) -> None:
    name = tserve.config("disable_token_authorization=false")
    keys = tserve.cwd / "key_file.json"
    log = served_log(tserve, "--ts-config", name)
    assert f"token authorization is on: the keys are in {keys}" in log
    keys.unlink()
    (tserve.cwd / "logs" / "ts_log.log").unlink()
    log = served_log(tserve, "--ts-config", name, "--disable-token-auth")
    assert "token authorization" not in log
    assert not keys.exists()


def test_levels_of_a_log4j_file_are_used(tserve: Command) -> None:
    (tserve.cwd / "log4j2.xml").write_text('<Loggers><Root level="error"/></Loggers>')
    log = served_log(
        tserve, "--ts-config", tserve.config("nonsense=1"), "--log-config", "log4j2.xml"
    )
    assert "unknown key" not in log
