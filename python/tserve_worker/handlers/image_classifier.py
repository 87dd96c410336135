"""``ImageClassifier``: the likeliest classes of a picture.

Source: TorchServe ``ts/torch_handler/image_classifier.py``; mean and deviation are torchvision's
for ImageNet.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision import transforms

from tserve_worker.handler_utils.timer import timed
from tserve_worker.handlers import vision_handler
from tserve_worker.utils.util import map_class_to_label


class ImageClassifier(vision_handler.VisionHandler):
    """Answers every picture with ``{label: probability}``, likeliest first.

    Attributes:
        topk: number of classes in an answer; the model must have as many.
    """

    topk = 5

    image_processing = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )

    def set_max_result_classes(self, topk: int) -> None:
        """Set the number of classes in an answer."""
        self.topk = topk

    def get_max_result_classes(self) -> int:
        """Return the number of classes in an answer."""
        return self.topk

    @timed
    def postprocess(self, data: Any) -> Any:
        """Pick the likeliest classes.

        Args:
            data: scores, shape (B, classes).

        Returns:
            one dict per request.

        Raises:
            RuntimeError: the model has fewer than ``topk`` classes.
        """
        probabilities = torch.nn.functional.softmax(data, dim=1)
        best, classes = torch.topk(probabilities, self.topk, dim=1)
        return map_class_to_label(best.tolist(), self.mapping, classes.tolist())
