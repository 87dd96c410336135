"""``ts.model_service.model_service``: base classes from before BaseHandler, kept for old archives.

Source: TorchServe ``ts/model_service/model_service.py``.
"""

from __future__ import annotations

import ast
import json
import logging
import time
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class ModelService:
    """A model with a signature file; subclasses say what inference is."""

    def __init__(
        self, model_name: str, model_dir: str, manifest: Any, gpu: int | None = None
    ) -> None:
        """Keep nothing: all of it comes again with the context."""
        del model_name, model_dir, manifest, gpu
        self.ctx: Any = None
        self._context: Any = None
        self._signature: Any = None

    def initialize(self, context: Any) -> None:
        """Read the signature that the manifest names.

        Raises:
            ValueError: there is no such file.
        """
        self._context = context
        name = context.manifest["Model"]["Signature"]
        file = Path(context.system_properties.get("model_dir"), name)
        if not file.is_file():
            raise ValueError("Signature file is not found.")
        self._signature = json.loads(file.read_text(encoding="utf-8"))

    def inference(self, data: Any) -> Any:
        """Answer a list of inputs; to be overridden."""

    def ping(self) -> Any:
        """Tell that the service is well; to be overridden."""

    def signature(self) -> Any:
        """Return what the signature file holds."""
        return self._signature

    def handle(self, data: Any, context: Any) -> list[Any]:
        """Answer the first request of a batch, whatever the others are."""
        del context
        row = data[0]
        names = (self._signature["inputs"][0]["data_name"], "body", "data")
        value = next((row[name] for name in names if row.get(name) is not None), None)
        is_json = self._signature["input_type"] == "application/json"
        if is_json and isinstance(value, (bytes, bytearray)):
            # A literal, as it always was: single quotes and None are understood, true is not.
            value = ast.literal_eval(value.decode())
        result = self.inference([value])
        return result if isinstance(result, list) else [result]


class SingleNodeService(ModelService):
    """A service whose inference has three steps, each of them timed in the log."""

    def inference(self, data: Any) -> Any:
        """Preprocess, infer and postprocess."""
        steps = {
            "preprocess": self._preprocess,
            "inference": self._inference,
            "postprocess": self._postprocess,
        }
        for name, step in steps.items():
            started = time.perf_counter()
            data = step(data)
            logger.info("%s time: %.2f", name, (time.perf_counter() - started) * 1000)
        return data

    def _inference(self, data: Any) -> Any:
        """Run the model; to be overridden."""
        return data

    def _preprocess(self, data: Any) -> Any:
        return data

    def _postprocess(self, data: Any) -> Any:
        return data
