"""A subclass of ImageClassifier with its own transformation, settings, description and explanations."""

from pathlib import Path

from harness.gallery import Case, metadata, nearly, raw, together
from harness.pictures import gradient, plain, square


def build(folder: Path) -> None:
    import torch

    torch.manual_seed(6)
    weights = {"fc.weight": torch.randn(10, 784) / 28, "fc.bias": torch.randn(10)}
    torch.save(weights, folder / "digits.pt")


CASE = Case(
    model_file="net.py",
    serialized_file="digits.pt",
    settings={"handler": {"classes": 4, "profile": True}, "batchSize": 3, "maxBatchDelay": 100},
    build=build,
    needs=["torchvision", "captum"],
    steps=[
        raw(square(10, 4, 18), read=nearly),
        together(
            raw(gradient(), read=nearly),
            raw(plain((0, 0, 0)), read=nearly),
            raw(square(2, 20, 9), read=nearly),
        ),
        raw(square(10, 4, 18), read=nearly).explained(),
        metadata,
        raw(b"", headers={"describe": "True"}),
    ],
)
