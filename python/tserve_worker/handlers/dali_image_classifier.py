"""``DALIImageClassifier``: the likeliest classes of pictures that DALI prepares.

Source: TorchServe ``ts/torch_handler/dali_image_classifier.py``.
"""

from __future__ import annotations

from typing import Any

import torch

from tserve_worker.handlers import dali_handler
from tserve_worker.utils.util import map_class_to_label


class DALIImageClassifier(dali_handler.DALIHandler):
    """Answers every picture with ``{label: probability}``, likeliest first.

    Attributes:
        topk: number of classes in an answer; the model must have as many.
    """

    topk = 5

    def set_max_result_classes(self, topk: int) -> None:
        """Set the number of classes in an answer."""
        self.topk = topk

    def get_max_result_classes(self) -> int:
        """Return the number of classes in an answer."""
        return self.topk

    def postprocess(self, data: Any) -> Any:
        """Pick the likeliest classes from scores of shape (B, classes)."""
        probabilities = torch.nn.functional.softmax(data, dim=1)
        best, classes = torch.topk(probabilities, self.topk, dim=1)
        return map_class_to_label(best.tolist(), self.mapping, classes.tolist())
