"""``VisionHandler``: turns uploaded pictures into one tensor.

Source: TorchServe ``ts/torch_handler/vision_handler.py``.
"""

from __future__ import annotations

import abc
import base64
import functools
import io
from typing import Any

import torch
from PIL import Image

from tserve_worker import _extras
from tserve_worker.handler_utils.timer import timed
from tserve_worker.handlers import base_handler


class VisionHandler(base_handler.BaseHandler, abc.ABC):
    """Base of the picture handlers; subclasses set ``image_processing``.

    Attributes:
        image_processing: from a PIL picture to a float tensor, shape (C, H, W); all pictures of
            a batch must get one shape.
        ig: captum's integrated gradients of the model, made when it is first asked for.
    """

    image_processing: Any

    def initialize(self, context: Any) -> None:
        """Load the model, and lift Pillow's limit of pixels if the server's is lifted."""
        super().initialize(context)
        if not context.system_properties.get("limit_max_image_pixels", True):
            Image.MAX_IMAGE_PIXELS = None

    @functools.cached_property
    def ig(self) -> Any:
        """Return captum's integrated gradients of the model.

        Raises:
            ModuleNotFoundError: captum is not installed.
        """
        return _extras.load("captum.attr").IntegratedGradients(self.model)

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
            ModuleNotFoundError: captum is not installed.
        """
        number = base_handler.class_number(target)
        return self.ig.attribute(tensor_data, target=number, n_steps=15).tolist()
