"""State dicts: read them, load them into a model, and let workers share their pages.

A file that is mapped into memory costs the machine its size once, however many workers map it. So
after a model has loaded its weights in the usual way, with whatever hooks it has, each tensor that
equals the one in the file is made to live there, and its own copy is given back.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Mapping
from typing import Any

import torch

from tserve_worker import _extras

logger = logging.getLogger(__name__)

WORTH_SHARING_BYTES = 64 * 1024
"""Smaller tensors stay where they are: each mapping wastes part of a page."""


def read_state(path: str, map_location: Any, *, mapped: bool) -> Any:
    """Read a state dict.

    Args:
        path: of a file that ``torch.save`` wrote, or of a ``.safetensors`` file.
        map_location: device of the tensors; None for where they were.
        mapped: map the file into memory if its format allows; on the CPU only.

    Raises:
        ModuleNotFoundError: the package safetensors is missing.
        RuntimeError: the file is none of these.
    """
    if path.endswith(".safetensors"):
        # Maps the file where the tensors stay on the CPU.
        return _extras.load("safetensors.torch").load_file(path)
    if mapped and "mmap" in inspect.signature(torch.load).parameters:
        try:
            return torch.load(path, map_location=map_location, mmap=True)
        except RuntimeError as exc:
            # The format before torch 1.6 has no offsets; whatever else is wrong comes up again.
            logger.debug("%s cannot be mapped: %s", path, exc)
    return torch.load(path, map_location=map_location)


def load_weights(model: Any, path: str, map_location: Any, *, mapped: bool) -> None:
    """Load weights into a model, and share their pages with other workers if the file is mapped.

    Raises:
        RuntimeError: the weights do not fit.
    """
    state = read_state(path, map_location, mapped=mapped)
    model.load_state_dict(state)
    if mapped and isinstance(state, Mapping):
        shared = share_storage(model, state)
        logger.debug("%d MiB of %s are shared", shared // 2**20, os.path.basename(path))


def share_storage(model: Any, state: Mapping[str, Any]) -> int:
    """Let the tensors of a model live in the file that they came from.

    Returns:
        how many bytes do now.
    """
    own = model.state_dict(keep_vars=True)
    shared = 0
    for name, source in state.items():
        target = own.get(name)
        if is_shareable(target, source):
            # Also for whoever else holds this parameter; views of the old copy stay right.
            target.data = source
            shared += source.nbytes
    return shared


def is_shareable(target: Any, source: Any) -> bool:
    """Tell whether a tensor of a model may be replaced by the one in the file: they are equal."""
    if not (isinstance(target, torch.Tensor) and isinstance(source, torch.Tensor)):
        return False
    return (
        target.layout == source.layout == torch.strided
        and source.nbytes >= WORTH_SHARING_BYTES
        and target.device == source.device == torch.device("cpu")
        and target.dtype == source.dtype
        and target.shape == source.shape
        and target.stride() == source.stride()
        and not (target.is_quantized or source.is_quantized)
        and torch.equal(target, source)
    )


def may_be_mapped(model_dir: str, path: str, device: Any) -> bool:
    """Tell whether a file stays as it is while the worker lives.

    What the server unpacked does. A folder or file of the user's own, which a link leads to, may be
    overwritten at any time, and with it the weights of a running model.
    """
    on_cpu = getattr(device, "type", None) == "cpu"
    return on_cpu and not os.path.islink(model_dir) and not os.path.islink(path)
