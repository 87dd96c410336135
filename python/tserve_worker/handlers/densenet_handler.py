"""``DenseNetHandler``: tensors in, one tensor out; not a ``BaseHandler``.

Source: TorchServe ``ts/torch_handler/densenet_handler.py``.
"""

from __future__ import annotations

import io
import os
import time
from typing import Any

import torch

from tserve_worker.handlers import _model_files
from tserve_worker.utils.util import list_classes_from_module


class DenseNetHandler:
    """Answers a batch of one with what the model makes of it, as ``torch.save`` writes it.

    Attributes:
        model: the loaded model, in evaluation mode.
        device: where the model is.
        initialized: whether ``initialize`` is through.
        context: the context of the running call.
        manifest: the archive's manifest.
        map_location: kind of the device, for loading.
    """

    def __init__(self) -> None:
        """Start without a model."""
        self.model: Any = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.manifest: Any = None
        self.map_location: Any = None

    def initialize(self, context: Any) -> None:
        """Load TorchScript, or a model file with its weights.

        Raises:
            RuntimeError: a file is missing, or the weights do not fit.
        """
        properties = context.system_properties
        self.map_location, self.device = _model_files.choose_device(
            properties.get("gpu_id"), use_xla=False
        )
        self.manifest = context.manifest
        model = self.manifest["model"]
        model_dir = properties.get("model_dir")
        path = os.path.join(model_dir, model["serializedFile"])
        if not os.path.isfile(path):
            raise RuntimeError(f"Missing the model.pt file: {path}")
        model_file = model.get("modelFile", "")
        if model_file:
            self.model = self._load_pickled_model(model_dir, model_file, path)
        else:
            self.model = self._load_torchscript_model(path)
        self.model.to(self.device)
        self.model.eval()
        self.initialized = True

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        """Load TorchScript."""
        return _model_files.load_torchscript(model_pt_path, self.device)

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str) -> Any:
        """Build the only class of the model file and load its weights."""
        return _model_files.load_eager(model_dir, model_file, model_pt_path, self.device)

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model without gradients."""
        with torch.no_grad():
            return self.model(data.to(self.device), *args, **kwargs)

    def handle(self, data: Any, context: Any) -> Any:
        """Answer a batch.

        Args:
            data: one dict per request, whose ``data`` or ``body`` is a tensor in the format of
                ``torch.save``; all of one shape.
            context: the context.

        Returns:
            a list of one item, the model's output for all.
        """
        started = time.perf_counter()
        self.context = context
        bodies = [row.get("data") or row.get("body") for row in data]
        tensors = [torch.load(io.BytesIO(body)) for body in bodies]
        output = self.inference(torch.stack(tensors))
        duration_ms = round((time.perf_counter() - started) * 1000, 2)
        context.metrics.add_time("HandlerTime", duration_ms, None, "ms")
        return [output]


__all__ = ["DenseNetHandler", "list_classes_from_module"]
