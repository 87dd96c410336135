"""The key ``pt2`` of a model's configuration: ``torch.compile`` and exported models.

Source: TorchServe ``BaseHandler.initialize``; unlike there the configuration is not changed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import Any

import torch

from tserve_worker import _extras
from tserve_worker.utils.util import check_valid_pt2_backend

logger = logging.getLogger(__name__)

REGISTRARS = {
    "openvino": "openvino.torch",
    "tensorrt": "torch_tensorrt",
    "ipex": "intel_extension_for_pytorch",
}
"""Modules that register a backend when they are imported."""


def wants_compile(pt2: Any) -> bool:
    """Tell whether a configuration asks for ``torch.compile``.

    Raises:
        ValueError: it is neither a text nor a mapping.
    """
    if isinstance(pt2, str):
        return True
    if not isinstance(pt2, dict):
        raise ValueError(f"pt2 should be a str or a mapping, not {pt2!r}")
    if "compile" in pt2:
        return bool((pt2["compile"] or {}).get("enable"))
    return "export" not in pt2


def compile_arguments(pt2: Any) -> dict[str, Any]:
    """Return the arguments for ``torch.compile``."""
    if isinstance(pt2, dict) and "compile" in pt2:
        return {key: value for key, value in pt2["compile"].items() if key != "enable"}
    logger.warning("pt2 should have the keys compile: {enable: true, ...}; this form is deprecated")
    return {"backend": pt2} if isinstance(pt2, str) else dict(pt2)


def compile_model(model: Any, pt2: Any) -> Any:
    """Compile a model as configured; it stays eager, with a warning, when that fails."""
    arguments = compile_arguments(pt2)
    backend = arguments.get("backend")
    if backend is not None and not check_valid_pt2_backend(backend):
        return model
    registrar = REGISTRARS.get(backend or "")
    try:
        if registrar is not None:
            _extras.load(registrar)
        compiled = torch.compile(model, **arguments)
    except (ImportError, RuntimeError, TypeError, ValueError) as exc:
        logger.warning("Compiling the model failed, it stays eager: %s", exc)
        return model
    logger.info("Compiled model with %s", ", ".join(f"{k}: {v}" for k, v in arguments.items()))
    return compiled


def wants_aot_load(config: Any) -> bool:
    """Tell whether a configuration says that the weights are an exported, compiled model."""
    pt2 = (config or {}).get("pt2")
    export = pt2.get("export") if isinstance(pt2, dict) else None
    return isinstance(export, dict) and bool(export.get("aot_compile"))


def is_intel_wanted() -> bool:
    """Tell whether the server wants Intel's extension and it is there; warn if only the first."""
    if os.environ.get("TS_IPEX_ENABLE", "false").lower() != "true":
        return False
    if importlib.util.find_spec("intel_extension_for_pytorch") is None:
        logger.warning(
            "ipex_enable is set, but intel-extension-for-pytorch is not installed; going on without"
        )
        return False
    return True


def optimize_for_intel(model: Any) -> Any:
    """Let Intel's extension rewrite a model for its processors."""
    extension = _extras.load("intel_extension_for_pytorch")
    return extension.optimize(model.to(memory_format=torch.channels_last))
