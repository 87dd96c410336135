"""Settings of models: which source wins, as `tserve config show` says and as a server serves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.archives import build_archive
from harness.server import Server

if TYPE_CHECKING:
    from .conftest import Command

PROPERTY = {
    "own": {"1.0": {"minWorkers": 3, "maxWorkers": 3, "batchSize": 7, "responseTimeout": 33}},
    "plain": {"1.0": {"minWorkers": 2, "maxWorkers": 4, "batchSize": 5, "startupTimeout": 44}},
    "other": {"9.9": {"batchSize": 9}},
}
OWN = {"minWorkers": 1, "maxWorkers": 2, "batchSize": 3, "maxBatchDelay": 0, "useVenv": "false"}


def build(store: Path) -> None:
    """Three archives: one with a configuration, two without."""
    build_archive(store, "own", handler="noop.py", settings=OWN)
    build_archive(store, "plain", handler="noop.py")
    build_archive(store, "other", handler="noop.py", archive_format="tgz")


def settings(document: dict[str, Any], model: str) -> dict[str, tuple[str | None, str, str | None]]:
    """Value, source and place of each setting of a model."""
    (found,) = [it for it in document["models"] if it["name"] == model]
    return {it["key"]: (it["value"], it["source"], it["at"]) for it in found["settings"]}


def show(tserve: Command, *words: str) -> dict[str, Any]:
    done = tserve.run("config", "show", "--json", "--model-store", str(tserve.store), *words)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_every_source_of_a_models_settings_is_named(tserve: Command) -> None:
    build(tserve.store)
    text = f"models={json.dumps(PROPERTY)}\ndefault_response_timeout=55\njob_queue_size=66\n"
    (tserve.cwd / "c.properties").write_text(text)
    document = show(tserve, "--ts-config", "c.properties", "--models", "all")
    own, plain, other = (settings(document, name) for name in ("own", "plain", "other"))

    assert own["minWorkers"] == ("1", "archive", "model-config.yaml")
    assert own["maxWorkers"] == ("2", "archive", "model-config.yaml")
    assert own["batchSize"] == ("3", "archive", "model-config.yaml")
    assert own["maxBatchDelay"] == ("0", "archive", "model-config.yaml")
    assert own["responseTimeout"] == ("33", "models", "models, c.properties:1")
    assert own["jobQueueSize"] == ("66", "server", "job_queue_size, c.properties:3")
    assert own["maxRetryTimeoutInSec"] == ("300", "default", None)
    assert own["handler"] == ("noop.py", "manifest", "MAR-INF/MANIFEST.json")

    assert plain["minWorkers"] == ("2", "models", "models, c.properties:1")
    assert plain["maxWorkers"] == ("4", "models", "models, c.properties:1")
    assert plain["startupTimeout"] == ("44", "models", "models, c.properties:1")
    assert plain["responseTimeout"] == ("55", "server", "default_response_timeout, c.properties:2")
    assert plain["maxBatchDelay"] == ("100", "default", None)

    # The version is another one.
    assert other["batchSize"] == ("1", "default", None)
    assert other["minWorkers"][1:] == ("server", "default_workers_per_model (default)")


def test_one_model_by_name_or_archive(tserve: Command) -> None:
    build(tserve.store)
    for words in (("--model", "own.mar"), ("--models", "mine=own.mar", "--model", "mine")):
        (model,) = show(tserve, *words)["models"]
        assert model["name"] == ("own" if len(words) == 2 else "mine")
        assert (model["version"], model["location"]) == ("1.0", "own.mar")
    store = ("--model-store", str(tserve.store))
    table = tserve.run("config", "show", *store, "--model", "own.mar")
    rows = [line.split() for line in table.stdout.splitlines()]
    assert "model own 1.0, from own.mar" in table.stdout
    assert ["batchSize", "3", "model-config.yaml"] in rows
    missing = tserve.run("config", "show", *store, "--model", "nobody.mar")
    assert missing.returncode == 1
    assert "Model not found at: nobody.mar" in missing.stdout


def test_what_must_be_fetched_is_not(tserve: Command) -> None:
    build(tserve.store)
    url = "http://127.0.0.1:1/far.mar"
    document = show(tserve, "--models", url, "plain.mar")
    far, plain = document["models"]
    assert far["error"] == "not known before it has been fetched"
    assert plain["settings"]
    assert {it.name for it in tserve.store.iterdir()} == {"own.mar", "plain.mar", "other.tar.gz"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with the three archives, not started yet."""
    build(tmp_path / "store")
    made = Server(
        tmp_path,
        models=["own.mar", "plain.mar", "renamed=other.tar.gz"],
        flags=("--disable-token-auth", "--enable-model-api"),
        config={
            "models": json.dumps(PROPERTY),
            "default_response_timeout": 55,
            "default_workers_per_model": 1,
        },
    )
    yield made
    made.stop()


SHOWN = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout")


def served(server: Server, model: str) -> tuple[object, ...]:
    described = server.describe(model)
    return tuple(described[key] for key in SHOWN)


def test_a_server_goes_by_them_and_so_does_the_next(server: Server) -> None:
    server.start()
    expected = {
        "own": (1, 2, 3, 0, 33),
        "plain": (2, 4, 5, 100, 55),
        "renamed": (1, 1, 1, 100, 55),
    }
    assert {name: served(server, name) for name in expected} == expected
    # A registration says more than the property, and less about time-outs where it has a say.
    assert server.manage("DELETE", "/models/plain").status == 200
    query = "url=plain.mar&batch_size=2&max_batch_delay=9&response_timeout=77&startup_timeout=78"
    assert server.manage("POST", f"/models?{query}&initial_workers=1").status == 200
    assert served(server, "plain") == (1, 1, 2, 9, 77)
    assert server.describe("plain")["startupTimeout"] == 44
    # What a client changed is in the snapshot, which goes before the config file's models.
    server.stop()
    words = [*server.command, "config", "show", "--json", "--model-store", str(server.store)]
    done = subprocess.run(
        words, cwd=server.working, capture_output=True, text=True, timeout=30, check=True
    )
    plain = settings(json.loads(done.stdout), "plain")
    assert plain["batchSize"][:2] == ("2", "snapshot")
    assert plain["minWorkers"][:2] == ("1", "snapshot")
    server.models = []
    server.start(with_config=False)
    assert served(server, "plain") == (1, 1, 2, 9, 77)
