"""The real TorchServe and tserve, side by side, with the same archives and settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.archives import build_archive
from harness.pair import Pair, reference_environment
from harness.server import Server
from harness.weights import save_weights

ONE = {"minWorkers": 1, "maxWorkers": 1}
# Everything that both servers load at start; more workers would only cost time and memory.
MODELS = {
    "echo": {},
    "returns": {},
    "errors": {},
    "respond": {},
    "classy": {},
    "entry": {"handler": "entry.py:serve"},
    "batches": {"settings": {**ONE, "batchSize": 4, "maxBatchDelay": 1000}},
    "trouble": {"settings": {**ONE, "responseTimeout": 2}},
    "sleeper": {"settings": {**ONE, "jobQueueSize": 2}},
    "impatient": {"handler": "sleeper.py", "settings": {**ONE, "clientTimeoutInMills": 500}},
}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, started with all of `MODELS` and with copies of the same archives."""
    environment = reference_environment()
    folder = tmp_path_factory.mktemp("compat")
    store = folder / "archives" / "store"
    for name, options in MODELS.items():
        build_archive(store, name, **options)
    for version in ("1.0", "2.0"):
        build_archive(store, "version", version=version, file_name=f"version-{version}")
    weights = save_weights(folder)
    names = folder / "index_to_name.json"
    names.write_text('{"0": "twice", "1": "rest"}')
    build_archive(
        store,
        "eager",
        handler="linear.py",
        serialized_file=weights.eager,
        model_file=Path(__file__).parents[1] / "models" / "linear_model.py",
        extra_files=[names],
    )
    build_archive(store, "scripted", handler="linear.py", serialized_file=weights.scripted)
    settings = folder / "settings.json"
    settings.write_text('{"answer": 42}')
    build_archive(store, "files", extra_files=[settings], settings={**ONE, "note": "[1, a]"})

    models = [f"{name}.mar" for name in [*MODELS, "eager", "scripted", "files"]]
    commands = {"ours": None, "theirs": [str(environment / "bin" / "torchserve")]}
    servers = {
        name: Server(
            folder / name,
            command=command,
            models=models,
            config={"metrics_mode": "prometheus"},
        )
        for name, command in commands.items()
    }
    try:
        for server in servers.values():
            shutil.copytree(store, server.store, dirs_exist_ok=True)
            server.start(ready=False)
        for server in servers.values():
            server.wait_until_serving(180)
        yield Pair(**servers)
    finally:
        for server in servers.values():
            server.stop()
