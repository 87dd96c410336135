"""``ImageSegmenter``: the class of every pixel.

Source: TorchServe ``ts/torch_handler/image_segmenter.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision import transforms

from tserve_worker.handler_utils.timer import timed
from tserve_worker.handlers import vision_handler


class ImageSegmenter(vision_handler.VisionHandler):
    """Answers every picture with (class, probability) for each pixel."""

    image_processing = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )

    @timed
    def postprocess(self, data: Any) -> Any:
        """Pick the likeliest class of each pixel.

        Args:
            data: a dict whose ``out`` has scores of shape (B, classes, H, W).

        Returns:
            one nested list of shape (H, W, 2) per request: class as a float, probability.
        """
        probabilities, classes = torch.max(torch.softmax(data["out"], dim=1), dim=1)
        pairs = torch.stack([classes.to(probabilities.dtype), probabilities], dim=3)
        return pairs.tolist()
