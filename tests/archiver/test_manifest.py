"""The manifest: keys, order, times."""

from __future__ import annotations

import json
import re
import time
from importlib import metadata

import pytest

from archiver import ModelArchiverConfig
from archiver.manifest import archiver_version, manifest_text


def test_all_keys_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1751551509")
    monkeypatch.setattr(metadata, "version", {"tserve": "9.8.7"}.__getitem__)
    config = ModelArchiverConfig(
        model_name="toy",
        handler="src/toy_handler.py:run",
        version="2.1",
        serialized_file="out/toy.pt",
        model_file="src/net.py",
        extra_files="labels.txt",
        requirements_file="reqs.txt",
        config_file="conf/model-config.yaml",
    )
    assert (
        manifest_text(config)
        == """\
{
  "createdOn": "03/07/2025 14:05:09",
  "runtime": "python",
  "model": {
    "modelName": "toy",
    "serializedFile": "toy.pt",
    "handler": "toy_handler.py:run",
    "modelFile": "net.py",
    "modelVersion": "2.1",
    "requirementsFile": "reqs.txt",
    "configFile": "model-config.yaml"
  },
  "archiverVersion": "9.8.7"
}"""
    )


def test_only_what_was_given() -> None:
    manifest = json.loads(manifest_text(ModelArchiverConfig("toy", "base_handler", "")))
    assert manifest["model"] == {
        "modelName": "toy",
        "handler": "base_handler",
        "modelVersion": "",
    }


def test_created_now_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = int(time.time())
    created = json.loads(manifest_text(ModelArchiverConfig("toy", "h", "1")))["createdOn"]
    assert re.fullmatch(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", created)
    moment = time.mktime(time.strptime(created, "%d/%m/%Y %H:%M:%S"))
    assert before <= moment <= time.time()


def test_bare_checkout_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert archiver_version() == "unknown"
