"""``MockContext``: a context for unit tests of handlers."""

from __future__ import annotations

import os
import uuid
from typing import Any

from tserve_worker.metrics.metrics_store import MetricsStore
from tserve_worker.utils.util import get_yaml_config


class MockContext:
    """Stands in for ``Context`` where there is no worker.

    Attributes:
        manifest: has only the model's file names.
        system_properties: ``model_dir``, and ``gpu_id`` where there is CUDA.
        explain: set it to True to make requests ask for an explanation.
        metrics: a ``MetricsStore``.
        model_yaml_config: the configuration file, ``{}`` without one.
    """

    def __init__(
        self,
        model_pt_file: str | None = "model.pt",
        model_dir: str = "ts/torch_handler/unit_tests/models/tmp",
        model_file: str | None = "model.py",
        gpu_id: str | int | None = "0",
        model_name: str = "mnist",
        model_yaml_config_file: str | None = None,
    ) -> None:
        """Describe a model in a directory.

        Args:
            model_pt_file: file of the weights, or None.
            model_dir: directory of the model.
            model_file: file of the model's class, or None for TorchScript.
            gpu_id: device, used only where there is CUDA.
            model_name: name of the model.
            model_yaml_config_file: configuration file below ``model_dir``, or None.
        """
        model: dict[str, Any] = {}
        if model_pt_file:
            model["serializedFile"] = model_pt_file
        if model_file:
            model["modelFile"] = model_file
        self.manifest = {"model": model}
        self.system_properties: dict[str, Any] = {"model_dir": model_dir}
        if gpu_id and _has_cuda():
            self.system_properties["gpu_id"] = gpu_id
        self.explain = False
        self.metrics = MetricsStore(uuid.uuid4(), model_name)
        self.model_yaml_config: Any = {}
        if model_yaml_config_file is not None:
            path = os.path.join(model_dir, model_yaml_config_file)
            self.model_yaml_config = get_yaml_config(path)

    def get_request_header(self, idx: Any, exp: Any) -> bool:
        """Tell whether an explanation is asked for."""
        return bool(idx and exp and self.explain)


def _has_cuda() -> bool:
    """Tell whether there is a device; without torch there is none that a handler could use."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())
