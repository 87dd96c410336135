"""Absent packages: the error says what to install."""

from __future__ import annotations

import importlib
import io
import logging
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tserve_worker import _extras

PYTHON = Path(__file__).resolve().parents[2] / "python"

WITHOUT = """
import sys
absent = sys.argv[2]
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == absent or name.startswith(absent + "."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import ts
try:
    __import__(sys.argv[1])
except ModuleNotFoundError as error:
    print(error)
"""


def error_without(absent: str, module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT, module, absent],
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("absent", "module", "extra"),
    [
        ("torch", "ts.torch_handler.base_handler", "torch"),
        ("torch", "ts.torch_handler.image_classifier", "torch"),
        ("torchvision", "ts.torch_handler.image_classifier", "vision"),
        ("PIL", "ts.torch_handler.vision_handler", "vision"),
    ],
)
def test_import_says_which_extra_to_install(absent: str, module: str, extra: str) -> None:
    if absent != "torch":
        pytest.importorskip("torch")
    message = error_without(absent, module)
    assert f"No module named {absent!r}" in message
    assert message.endswith(f"hint: pip install 'tserve[{extra}]'")


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        ("onnxruntime", "tserve[onnx]"),
        ("safetensors.torch", "tserve[safetensors]"),
        ("captum.attr", "tserve[explain]"),
        ("torch_xla.core.xla_model", "pip install torch-xla"),
        ("openvino.torch", "pip install openvino"),
        ("nvidia.dali.pipeline", "pip install nvidia-dali-cuda"),
    ],
)
def test_every_optional_package_has_a_hint(module: str, hint: str) -> None:
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert hint in str(_extras.with_hint(error))
    assert _extras.with_hint(error).name == module


def test_other_errors_stay_as_they_are() -> None:
    error = ModuleNotFoundError("No module named 'private'", name="private")
    assert _extras.with_hint(error) is error
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'a_module_of_nobody'$"):
        _extras.load("a_module_of_nobody")


def test_every_extra_exists() -> None:
    text = (PYTHON.parent / "pyproject.toml").read_text()
    for extra in _extras.EXTRAS.values():
        assert f"\n{extra} = [" in text


def test_models_are_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub itself is out of reach in a test: a module in its place takes the call."""
    asked: dict[str, object] = {}

    def snapshot_download(**options: object) -> str:
        asked.update(options)
        return "/a/folder"

    hub = types.ModuleType("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download, raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    fetched = importlib.import_module("ts.utils.hf_utils").download_model("me/it", model_path="c")
    assert fetched == "/a/folder"
    assert asked["repo_id"] == "me/it"
    assert asked["cache_dir"] == "c"
    assert asked["revision"] == "main"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match="pip install huggingface_hub"):
        importlib.import_module("ts.utils.hf_utils").download_model()


def test_memory_of_processes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    module = importlib.import_module("ts.metrics.process_memory_metric")
    assert module.get_cpu_usage(os.getpid()) > 1_000_000
    assert module.get_cpu_usage("no pid") == 0
    module.check_process_mem_usage(io.StringIO(f"{os.getpid()},\n"))
    assert re.search(rf"^{os.getpid()}:\d{{7,}}$", caplog.messages[-1])
