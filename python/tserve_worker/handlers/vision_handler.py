"""``VisionHandler``: turns uploaded pictures into one tensor.

Source: TorchServe ``ts/torch_handler/vision_handler.py``.
"""

from __future__ import annotations

import abc
import base64
import importlib
import importlib.util
import io
from typing import Any

import torch
from PIL import Image

from tserve_worker.handler_utils.timer import timed
from tserve_worker.handlers import base_handler


class VisionHandler(base_handler.BaseHandler, abc.ABC):
    """Base of the picture handlers; subclasses set ``image_processing``.

    Attributes:
        image_processing: from a PIL picture to a float tensor, shape (C, H, W); all pictures of
            a batch must get one shape.
        ig: captum's integrated gradients of the model; None where captum is not installed.
    """

    image_processing: Any

    def initialize(self, context: Any) -> None:
        """Load the model, and prepare to explain it."""
        super().initialize(context)
        self.ig: Any = None
        if importlib.util.find_spec("captum") is not None:
            attr = importlib.import_module("captum.attr")
            self.ig = attr.IntegratedGradients(self.model)
        if not context.system_properties.get("limit_max_image_pixels", True):
            Image.MAX_IMAGE_PIXELS = None

    @timed
    def preprocess(self, data: Any) -> Any:
        """Decode and transform one batch of pictures.

        Args:
            data: one dict per request; ``data`` or ``body`` is a file of any format that Pillow
                reads, as bytes or as base64 in a str, or numbers in nested lists.

        Returns:
            float32, shape (B, C, H, W), on ``self.device``.

        Raises:
            PIL.UnidentifiedImageError: a body is no picture; the whole batch fails.
        """
        images = []
        for row in data:
            image = row.get("data") or row.get("body")
            if isinstance(image, str):
                image = base64.b64decode(image)
            if isinstance(image, (bytes, bytearray)):
                images.append(self.image_processing(Image.open(io.BytesIO(image))))
            else:
                images.append(torch.FloatTensor(image))
        return torch.stack(images).to(self.device)

    def get_insights(self, tensor_data: Any, _: Any, target: Any = 0) -> Any:
        """Attribute the score of a class to the pixels, by integrated gradients in 15 steps.

        Args:
            tensor_data: shape (B, C, H, W).
            target: class to explain.

        Returns:
            nested lists of the shape of ``tensor_data``.

        Raises:
            RuntimeError: captum is not installed.
        """
        if self.ig is None:
            raise RuntimeError("explanations of pictures need the package captum")
        return self.ig.attribute(tensor_data, target=target, n_steps=15).tolist()
