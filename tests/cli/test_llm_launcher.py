"""``python -m ts.llm_launcher``: one command from a model's folder to a server.

The engine is the stand-in of `tests/stand_ins`, because vLLM itself needs a GPU and gigabytes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import client
from harness.processes import MARK, kill, marked, wait_until
from harness.server import free_ports, tserve_binary

from tserve_worker import llm_launcher

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = ROOT / "tests" / "stand_ins"

started: list[subprocess.Popen[str]] = []


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A place of its own for the launcher and its server, which leave nothing behind."""
    binary = tmp_path / "bin" / "tserve"
    binary.parent.mkdir()
    binary.symlink_to(tserve_binary().resolve())
    mark = uuid.uuid4().hex
    yield {
        **os.environ,
        "PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{STAND_INS}",
        "TMPDIR": str(tmp_path),
        "TEMP": str(tmp_path),
        "TSERVE_PYTHON": sys.executable,
        "CUDA_VISIBLE_DEVICES": "",
        MARK: mark,
    }
    for pid in marked(mark):
        kill(pid)
    while started:
        process = started.pop()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def launch(folder: Path, environment: dict[str, str], *flags: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ts.llm_launcher", *flags],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    started.append(process)
    return process


def post(port: int, path: str, body: dict[str, Any]) -> client.Answer:
    headers = {"Content-Type": "application/json"}
    return client.request(port, "POST", path, json.dumps(body).encode(), headers)


def test_from_a_folder_to_answers(tmp_path: Path, environment: dict[str, str]) -> None:
    model = tmp_path / "weights"
    model.mkdir()
    inference, management, metrics, *grpc = free_ports(5)
    (tmp_path / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n"
    )
    process = launch(tmp_path, environment, "--model_id", "weights", "--disable_token_auth")
    body = {"model": "weights", "prompt": "a", "max_tokens": 2}

    def answers() -> bool:
        assert process.poll() is None, process.communicate()[0]
        try:
            return post(inference, "/predictions/model/1.0/v1/completions", body).status == 200
        except OSError:
            return False

    wait_until(answers, 60, "the model answers")
    answer = post(inference, "/predictions/model/1.0/v1/completions", body)
    assert json.loads(answer.body)["choices"][0]["text"] == " one two"
    listed = json.loads(client.request(inference, "GET", "/predictions/model/1.0/v1/models").body)
    assert [(entry["id"], entry["root"]) for entry in listed["data"]] == [
        ("weights", str(model)),
        ("model", str(model)),
    ]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    wait_until(lambda: not marked(environment[MARK]), 15, "the server is gone")
    assert list((tmp_path / "model_store").iterdir()) == []


def test_engine_that_is_not_installed(tmp_path: Path, environment: dict[str, str]) -> None:
    if importlib.util.find_spec("tensorrt_llm"):
        pytest.skip("tensorrt_llm is installed")
    (tmp_path / "weights").mkdir()
    without = {**environment, "PYTHONPATH": str(ROOT / "python")}
    process = launch(tmp_path, without, "--model_id", "weights", "--engine", "trt_llm")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No module named 'tensorrt_llm'; hint: pip install tensorrt_llm" in output
    assert not (tmp_path / "model_store").exists()


def options(*flags: str) -> dict[str, Any]:
    return vars(llm_launcher.build_parser().parse_args(flags))


def test_defaults_are_those_of_torchserve() -> None:
    assert options() == {
        "model_name": "model",
        "model_store": "model_store",
        "model_id": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "disable_token_auth": False,
        "engine": "vllm",
        "startup_timeout": 1200,
        "dtype": "bfloat16",
        "vllm_engine.max_num_seqs": 256,
        "vllm_engine.max_model_len": None,
        "vllm_engine.download_dir": None,
        "trt_llm_engine.max_batch_size": 4,
        "trt_llm_engine.kv_cache_free_gpu_memory_fraction": 0.1,
    }


def test_settings_on_gpus() -> None:
    wishes = options("--model_id", "m", "--vllm_engine.max_model_len", "10", "--dtype", "half")
    assert llm_launcher.model_config(wishes, "/m", 2) == {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 1,
        "maxBatchDelay": 100,
        "responseTimeout": 1200,
        "startupTimeout": 1200,
        "deviceType": "gpu",
        "asyncCommunication": True,
        "parallelType": "custom",
        "parallelLevel": 2,
        "handler": {
            "model_path": "/m",
            "vllm_engine_config": {
                "dtype": "half",
                "max_num_seqs": 256,
                "max_model_len": 10,
                "tensor_parallel_size": 2,
                "served_model_name": ["m", "model"],
            },
        },
    }


def test_settings_of_tensorrt_llm() -> None:
    config = llm_launcher.model_config(options("--engine", "trt_llm"), "/m", 1)
    assert config["parallelLevel"] == 1
    assert config["handler"] == {
        "engine_dir": "/m",
        "tokenizer_dir": "/m",
        "kv_cache_config": {"free_gpu_memory_fraction": 0.1},
        "trt_llm_engine_config": {"max_batch_size": 4, "dtype": "bfloat16"},
    }


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(**_: object) -> str:
        raise OSError("no route to the hub\nand much more")

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(llm_launcher.LaunchError) as caught:
        llm_launcher.find_model("org/model", None)
    message = str(caught.value)
    assert message.startswith("'org/model' is no folder and cannot be fetched")
    assert "OSError: no route to the hub; hint: give --model_id a folder" in message


def test_hub_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(llm_launcher.LaunchError, match="huggingface_hub"):
        llm_launcher.find_model("org/model", None)


def test_model_that_the_hub_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def snapshot_download(**wishes: object) -> str:
        asked.append(wishes)
        return "/cache/model"

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert llm_launcher.find_model("org/model", "/cache") == "/cache/model"
    assert (asked[0]["repo_id"], asked[0]["cache_dir"]) == ("org/model", "/cache")
    assert asked[0]["token"] is None


def test_folder_of_somebody_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(STAND_INS)
    precious = tmp_path / "store" / "model" / "weights"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    flags = ["--model_store", str(tmp_path / "store"), "--model_id", str(tmp_path)]
    assert llm_launcher.main(flags) == 1
    assert "is left alone" in capsys.readouterr().err
    assert precious.read_text() == "precious"
