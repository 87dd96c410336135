"""``ObjectDetector``: boxes around the things in a picture.

Source: TorchServe ``ts/torch_handler/object_detector.py``.
"""

from __future__ import annotations

from typing import Any

from torchvision import transforms

from tserve_worker.handler_utils.timer import timed
from tserve_worker.handlers import vision_handler
from tserve_worker.utils.util import map_class_to_label


class ObjectDetector(vision_handler.VisionHandler):
    """Answers every picture with a list of ``{label: box, "score": score}``.

    Attributes:
        threshold: least score of a box in an answer.
    """

    threshold = 0.5

    image_processing = transforms.Compose([transforms.ToTensor()])

    @timed
    def postprocess(self, data: Any) -> Any:
        """Keep the boxes above the threshold.

        Args:
            data: one dict per picture with the tensors ``boxes`` of shape (N, 4), corners in
                pixels, ``labels`` and ``scores`` of shape (N,), as torchvision's detectors give.

        Returns:
            one list per request.
        """
        answers = []
        for row in data:
            kept = row["scores"] >= self.threshold
            boxes = row["boxes"][kept].tolist()
            labels = row["labels"][kept].tolist()
            scores = row["scores"][kept].tolist()
            found = []
            for box, label, score in zip(boxes, labels, scores, strict=True):
                (named,) = map_class_to_label([[box]], self.mapping, [[label]])
                named["score"] = score
                found.append(named)
            answers.append(found)
        return answers
