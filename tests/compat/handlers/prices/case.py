"""A regression on JSON objects, settings from model-config.yaml, statuses for single requests."""

from pathlib import Path

from harness.gallery import Case, as_json, text, together


def build(folder: Path) -> None:
    import torch

    weights = {"fc.weight": torch.tensor([[2.0, 0.5, -3.0]]), "fc.bias": torch.tensor([10.0])}
    torch.save(weights, folder / "prices.pth")


HOUSE = {"area": 120, "rooms": 4, "age": 30}

CASE = Case(
    model_file="linear.py",
    serialized_file="prices.pth",
    settings={
        "handler": {"features": ["area", "rooms", "age"], "scale": {"area": 10}},
        "batchSize": 4,
        "maxBatchDelay": 100,
    },
    build=build,
    steps=[
        as_json(HOUSE),
        as_json({"area": 1}, status=422),
        as_json({**HOUSE, "area": "many"}, status=503),
        as_json({**HOUSE, "area": "80.5"}),
        text("area=3", status=422),
        together(as_json(HOUSE), as_json({}, status=422), as_json({**HOUSE, "rooms": 9})),
    ],
)
