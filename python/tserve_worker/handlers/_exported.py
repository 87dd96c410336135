"""Models without their Python code: ``torch.export`` programs, AOTInductor packages, ONNX."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import torch

from tserve_worker import _extras


def load_library(path: str, map_location: str | None, device: Any) -> Any:
    """Load a shared library that ``torch._export.aot_compile`` made."""
    if map_location == "cuda":
        torch.cuda.set_device(device)
    return torch._export.aot_load(path, map_location or "cpu")


def load_package(path: str, device: Any) -> Any:
    """Load a ``.pt2`` file: what AOTInductor compiled, or a program of ``torch.export``.

    A program goes to the worker's device. A compiled package runs on the kind of device that it was
    compiled for.

    Raises:
        RuntimeError: the file is neither.
    """
    try:
        with zipfile.ZipFile(path) as file:
            is_compiled = any("/aotinductor/" in name for name in file.namelist())
    except zipfile.BadZipFile as exc:
        name = os.path.basename(path)
        raise RuntimeError(
            f"No model weights could be loaded: {name} is no package of torch.export or AOTInductor"
        ) from exc
    if is_compiled:
        index = device.index if getattr(device, "type", None) == "cuda" else -1
        return torch._inductor.aoti_load_package(path, device_index=index)
    program = torch.export.load(path)
    if getattr(device, "type", None) != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


def open_onnx(path: str, map_location: str | None) -> Any:
    """Open an ONNX model in onnxruntime, on CUDA if the worker has it.

    Returns:
        an ``InferenceSession``.

    Raises:
        ModuleNotFoundError: onnxruntime is missing.
    """
    onnxruntime = _extras.load("onnxruntime")
    providers = ["CPUExecutionProvider"]
    if map_location == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    return onnxruntime.InferenceSession(path, providers=providers, sess_options=options)


def is_onnx(model: Any) -> bool:
    """Tell whether a model is a session of onnxruntime."""
    return type(model).__module__.partition(".")[0] == "onnxruntime"


def run_onnx(session: Any, data: Any) -> Any:
    """Call an ONNX model with tensors.

    Args:
        session: of onnxruntime.
        data: a tensor for a model of one input, else tensors in order or by name.

    Returns:
        a tensor, or a list of tensors for a model of several outputs.
    """
    names = [entry.name for entry in session.get_inputs()]
    if isinstance(data, torch.Tensor):
        data = [data]
    if not isinstance(data, dict):
        data = dict(zip(names, data, strict=True))
    feed = {name: value.detach().cpu().numpy() for name, value in data.items()}
    outputs = [torch.from_numpy(output) for output in session.run(None, feed)]
    return outputs[0] if len(outputs) == 1 else outputs
