"""`tserve config show`: each value and where it comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conftest import Command

TEXT = """\
enable_envvars_config=true
job_queue_size=7
keystore_pass=secret
"""


def shown(tserve: Command, *words: str, **environment: str) -> dict[str, Any]:
    """What it says about each key."""
    done = tserve.run("config", "show", "--json", *words, **environment)
    assert done.returncode == 0, done.stderr
    return {row.pop("key"): row for row in json.loads(done.stdout)["settings"]}


def test_every_source_is_named(tserve: Command) -> None:
    (tserve.cwd / "own.properties").write_text(TEXT)
    words = ("--ts-config", "own.properties", "--model-store", "there", "--disable-token-auth")
    settings = shown(tserve, *words, TS_DEFAULT_WORKERS_PER_MODEL="3")

    def row(value: str | None, source: str, at: str | None) -> dict[str, str | None]:
        return {"value": value, "source": source, "at": at}

    assert settings["job_queue_size"] == row("7", "file", "own.properties:2")
    assert settings["model_store"] == row("there", "flag", "--model-store")
    name = "TS_DEFAULT_WORKERS_PER_MODEL"
    assert settings["default_workers_per_model"] == row("3", "environment", name)
    assert settings["max_request_size"] == row("6553500", "default", None)
    assert settings["default_service_handler"] == row(None, "default", None)
    assert settings["keystore_pass"] == row("********", "file", "own.properties:3")


def test_the_table_has_the_same_and_starts_nothing(tserve: Command) -> None:
    (tserve.cwd / "config.properties").write_text(TEXT)
    done = tserve.run("config", "show", "--disable-token-auth")
    assert done.returncode == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["job_queue_size"] == ["7", "config.properties:2"]
    assert rows["disable_token_authorization"] == ["true", "flag", "--disable-token-auth"]
    assert "secret" not in done.stdout
    assert not tserve.pid_file.exists()


def test_a_snapshot_is_named_as_the_source(tserve: Command) -> None:
    folder = tserve.cwd / "logs" / "config"
    folder.mkdir(parents=True)
    name = "20250307140509123-startup.cfg"
    (folder / name).write_text('job_queue_size=7\nmodel_snapshot={"models"\\:{}}\n')
    settings = shown(tserve)
    at = f"logs/config/{name}:1"
    assert settings["job_queue_size"] == {"value": "7", "source": "snapshot", "at": at}
    assert shown(tserve, "--ncs")["job_queue_size"]["source"] == "default"


def test_a_mistake_is_one_line(tserve: Command) -> None:
    (tserve.cwd / "own.properties").write_text("job_queue_size=many\n")
    done = tserve.run("config", "show", "--ts-config", "own.properties")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith('own.properties:1: job_queue_size: "many"')
