"""``DALIHandler``: pictures decoded and transformed by NVIDIA DALI.

Source: TorchServe ``ts/torch_handler/dali_handler.py``.
"""

from __future__ import annotations

import abc
import functools
from typing import Any

import torch

from tserve_worker import _extras
from tserve_worker.handler_utils.preprocess.dali import get_dali_pipeline
from tserve_worker.handlers import base_handler


class DALIHandler(base_handler.BaseHandler, abc.ABC):
    """Base of the handlers whose pictures a DALI pipeline prepares.

    Attributes:
        pipeline: as the section ``dali`` of the model's configuration says.
        ig: captum's integrated gradients of the model, made when it is first asked for.
    """

    def initialize(self, context: Any) -> None:
        """Load the model and make the pipeline.

        Raises:
            ModuleNotFoundError: DALI is not installed.
        """
        super().initialize(context)
        self.pipeline: Any = get_dali_pipeline(context)

    @functools.cached_property
    def ig(self) -> Any:
        """Return captum's integrated gradients of the model.

        Raises:
            ModuleNotFoundError: captum is not installed.
        """
        return _extras.load("captum.attr").IntegratedGradients(self.model)

    def preprocess(self, data: Any) -> Any:
        """Run the pipeline on one batch.

        Args:
            data: one dict per request; ``data`` or ``body`` is a picture's file.

        Returns:
            what the pipeline makes of each, shape (B, ...), on ``self.device``.
        """
        numpy = _extras.load("numpy")
        pictures = []
        for row in data:
            picture = row.get("data") or row.get("body")
            if isinstance(picture, (bytes, bytearray)):
                picture = numpy.frombuffer(picture, dtype=numpy.uint8)
            pictures.append(picture)
        (output, *_) = self.pipeline.run(source=pictures)
        prepared = [torch.tensor(output.at(index)) for index in range(len(output))]
        return torch.stack(prepared).to(self.device)

    def get_insights(self, tensor_data: Any, _: Any, target: Any = 0) -> Any:
        """Attribute the score of a class to the pixels, by integrated gradients in 15 steps."""
        number = base_handler.class_number(target)
        return self.ig.attribute(tensor_data, target=number, n_steps=15).tolist()
