"""Profiling of handlers: ``ENABLE_TORCH_PROFILER``."""

from __future__ import annotations

import logging
import os
from typing import Any

from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

logger = logging.getLogger(__name__)

OFF = ("", "0", "false", "no", "off")


def is_enabled() -> bool:
    """Tell whether the environment asks for traces."""
    return os.environ.get("ENABLE_TORCH_PROFILER", "").lower() not in OFF


def profiler(arguments: dict[str, Any], manifest: Any) -> Any:
    """Make a profiler from a handler's arguments, which get the defaults they lack.

    Args:
        arguments: for ``torch.profiler.profile``; changed in place.
        manifest: of the archive; the model's name is the directory of the traces.
    """
    if not arguments.get("activities"):
        arguments["activities"] = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        arguments.setdefault("record_shapes", True)
    if "on_trace_ready" not in arguments:
        name = ((manifest or {}).get("model") or {}).get("modelName", "model")
        directory = os.path.join("/tmp/pytorch_profiler", name)
        arguments["on_trace_ready"] = tensorboard_trace_handler(directory)
        logger.info("Saving the profiler's traces in %s", directory)
    return profile(**arguments)


def log_table(finished: Any) -> None:
    """Log the ten operations that took longest."""
    table = finished.key_averages().table(sort_by="cpu_time_total", row_limit=10)
    logger.info("\n%s", table)
