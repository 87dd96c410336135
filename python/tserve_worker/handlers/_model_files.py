"""Choose a device and load a model onto it from the files of an archive."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from typing import Any

import torch

from tserve_worker import _extras
from tserve_worker._modules import import_top_level
from tserve_worker.handlers import _weights
from tserve_worker.utils.util import list_classes_from_module

logger = logging.getLogger(__name__)


def choose_device(gpu_id: Any, *, use_xla: bool) -> tuple[str | None, Any]:
    """Choose the device of a worker.

    CUDA and MPS need an index from the server; Intel GPUs also ``TS_IPEX_GPU_ENABLE=true``.

    Returns:
        (kind of the device for loading, None for XLA; the device).

    Source: TorchServe ``BaseHandler.initialize``.
    """
    if gpu_id is not None and torch.cuda.is_available():
        return "cuda", torch.device("cuda", int(gpu_id))
    if os.environ.get("TS_IPEX_GPU_ENABLE", "false").lower() == "true" and _has_xpu():
        return "xpu", torch.device("xpu", int(gpu_id or 0))
    if gpu_id is not None and torch.backends.mps.is_available():
        return "mps", torch.device("mps")
    if use_xla:
        xla_model = _extras.load("torch_xla.core.xla_model")
        return None, xla_model.xla_device()
    return "cpu", torch.device("cpu")


def prefer_tensor_cores() -> None:
    """Let float32 products use tensor cores where there is CUDA; GPUs without them take no notice.

    Source: TorchServe ``base_handler.py`` does so when it is imported. Not here: a template process
    that forks workers must not touch the driver.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")


def _has_xpu() -> bool:
    """Tell whether torch sees an Intel GPU."""
    xpu = getattr(torch, "xpu", None)
    return xpu is not None and bool(xpu.is_available())


def load_torchscript(path: str, device: Any) -> Any:
    """Load TorchScript onto a device.

    Raises:
        RuntimeError: the file is not TorchScript; with a hint when it holds plain weights.
    """
    if importlib.util.find_spec("torch_tensorrt") is not None:
        # Registers the operators that modules compiled with TensorRT refer to.
        importlib.import_module("torch_tensorrt")
    return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]


def load_eager(model_dir: str, model_file: str, weights: str | None, map_location: Any) -> Any:
    """Build the only class of a model file, and load its weights if there are any.

    Raises:
        ModuleNotFoundError: a package is missing for weights in this format.
        RuntimeError: a file is missing, or the weights do not fit.
        ValueError: the file does not have exactly one class.
    """
    path = os.path.join(model_dir, model_file)
    if not os.path.isfile(path):
        raise RuntimeError(f"Missing the model.py file: {path}")
    module = import_top_level(os.path.splitext(model_file)[0], model_dir)
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        names = [found.__name__ for found in classes]
        raise ValueError(f"Expected only one class as model definition. {model_file} has {names}")
    model = classes[0]()
    if weights:
        mapped = _weights.may_be_mapped(model_dir, weights, map_location)
        _weights.load_weights(model, weights, map_location, mapped=mapped)
    return model


def explain(path: str) -> str:
    """Say why weights of this kind cannot be loaded, and what to do."""
    name = os.path.basename(path)
    suffix = os.path.splitext(name)[1]
    hints = {
        ".onnx": "pip install 'tserve[onnx]'",
        ".so": "set pt2: {export: {aot_compile: true}} in the model's configuration file",
    }
    hint = hints.get(suffix, "archive a state dict together with --model-file")
    return f"BaseHandler cannot load {name} by itself; hint: {hint}"
