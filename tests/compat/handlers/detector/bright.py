import torch


class Bright(torch.nn.Module):
    """Answers like torchvision's detectors: a dict of boxes, labels and scores for each picture."""

    def forward(self, pictures):
        answers = []
        for picture in pictures:
            light = picture.mean(dim=0)
            boxes, labels, scores = [], [], []
            for label, threshold in ((1, 0.9), (2, 0.1)):
                ys, xs = torch.nonzero(light > threshold, as_tuple=True)
                if len(xs):
                    boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                    labels.append(label)
                    scores.append(light[ys, xs].mean() * (0.75 if label == 1 else 0.4))
            answers.append(
                {
                    "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                    "labels": torch.tensor(labels, dtype=torch.int64),
                    "scores": torch.tensor(scores, dtype=torch.float32),
                }
            )
        return answers
