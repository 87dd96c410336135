"""Helpers of models in several processes: what they ask of the configuration, what they miss."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tserve_worker.handler_utils.distributed.deepspeed import create_checkpoints_json, get_ds_engine
from tserve_worker.handler_utils.distributed.pt_pippy import get_pipeline_driver


def context(folder: Path, config: dict[str, Any]) -> Any:
    return SimpleNamespace(
        model_name="big", model_yaml_config=config, system_properties={"model_dir": str(folder)}
    )


def test_checkpoint_index_lists_weights(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").touch()
    (tmp_path / "b.txt").touch()
    create_checkpoints_json(str(tmp_path), str(tmp_path / "index.json"))
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["checkpoints"] == [str(tmp_path / "deep" / "a.bin")]
    assert (index["type"], index["version"]) == ("ds_model", 1.0)


def test_deepspeed_needs_its_section_and_file(tmp_path: Path) -> None:
    config: dict[str, Any] = {"handler": {"model_path": "w"}}
    with pytest.raises(ValueError, match="big has no deepspeed config in model config"):
        get_ds_engine(None, context(tmp_path, config))
    config["deepspeed"] = {"config": "ds.json"}
    with pytest.raises(ValueError, match=r"no deepspeed config file .*ds\.json"):
        get_ds_engine(None, context(tmp_path, config))


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="it is installed")
def test_missing_deepspeed_is_named(tmp_path: Path) -> None:
    config = {"handler": {"model_path": "w"}, "deepspeed": {}}
    with pytest.raises(ImportError, match="needs the package 'deepspeed'; hint: pip install"):
        get_ds_engine(None, context(tmp_path, config))


def test_pipeline_names_missing_keys(tmp_path: Path) -> None:
    config: dict[str, Any] = {}
    for expected, section, key in (
        ("'pippy'", "pippy", None),
        ("'input_names'", "pippy", "input_names"),
        ("'model_type'", "pippy", "model_type"),
        ("'handler'", "handler", None),
        ("'model_path'", "handler", "model_path"),
    ):
        with pytest.raises(AssertionError, match=f"Missing {expected} key"):
            get_pipeline_driver(None, 2, context(tmp_path, config))
        if key is None:
            config[section] = {}
        else:
            config[section][key] = "x"
    config["handler"]["index_filename"] = "index.json"
    with pytest.raises(AssertionError, match="not found"):
        get_pipeline_driver(None, 2, context(tmp_path, config))


@pytest.mark.skipif(importlib.util.find_spec("pippy") is not None, reason="it is installed")
def test_missing_pippy_is_named(tmp_path: Path) -> None:
    config = {
        "pippy": {"input_names": [], "model_type": "own"},
        "handler": {"model_path": "."},
    }
    with pytest.raises(ImportError, match="hint: pip install torchpippy"):
        get_pipeline_driver(None, 2, context(tmp_path, config))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="it is installed")
def test_missing_transformers_is_named() -> None:
    with pytest.raises(ImportError, match="needs the package 'transformers'"):
        import tserve_worker.handler_utils.hf_batch_streamer  # noqa: F401


def test_streamer_reads_a_batch_in_step() -> None:
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from tserve_worker.handler_utils.hf_batch_streamer import TextIteratorStreamerBatch

    class Tokenizer:
        def decode(self, tokens: Any, **_: Any) -> str:
            return "".join(f"{int(token)} " for token in tokens)

    streamer = TextIteratorStreamerBatch(Tokenizer(), 2, timeout=5)
    with pytest.raises(ValueError, match="2 sequences"):
        streamer.put(torch.zeros(3, 1))
    for step in range(3):
        streamer.put(torch.tensor([[step], [step + 10]]))
    streamer.end()
    pieces = list(streamer)
    assert "".join(piece[0]["text"] for piece in pieces) == "0 1 2 "
    assert "".join(piece[1]["text"] for piece in pieces) == "10 11 12 "
