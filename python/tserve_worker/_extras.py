"""Packages that are installed on demand, and the extras of this distribution that bring them."""

from __future__ import annotations

import importlib
from typing import Any

EXTRAS = {
    "PIL": "vision",
    "captum": "explain",
    "numpy": "torch",
    "onnxruntime": "onnx",
    "safetensors": "safetensors",
    "torch": "torch",
    "torchvision": "vision",
}
"""The extra by the module that is missing."""

DISTRIBUTIONS = {
    "huggingface_hub": "huggingface_hub",
    "intel_extension_for_pytorch": "intel-extension-for-pytorch",
    "nvidia.dali": "nvidia-dali-cuda120 (or the one for your CUDA)",
    "openvino": "openvino",
    "tensorrt_llm": "tensorrt_llm (see NVIDIA's guide for the index that has it)",
    "torch_tensorrt": "torch-tensorrt",
    "torch_xla": "torch-xla",
    "transformers": "transformers",
    "vllm": "vllm",
}
"""What to install for modules that no extra brings; most builds depend on the hardware."""


def with_hint(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return an error that also says what to install; the same one where nothing is known."""
    name = error.name or ""
    top = name.partition(".")[0]
    if top in EXTRAS:
        hint = f"pip install 'tserve[{EXTRAS[top]}]'"
    elif found := next((one for one in DISTRIBUTIONS if f"{name}.".startswith(f"{one}.")), None):
        hint = f"pip install {DISTRIBUTIONS[found]}"
    else:
        return error
    return ModuleNotFoundError(f"{error}; hint: {hint}", name=name, path=error.path)


def load(module: str) -> Any:
    """Import a module that may be absent.

    Raises:
        ModuleNotFoundError: it is; the text says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        raise with_hint(exc) from exc
