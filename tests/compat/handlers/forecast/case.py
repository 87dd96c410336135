"""Series of numbers, a model with a buffer, metrics of the handler, tuples as answers."""

from pathlib import Path

from harness.gallery import Case, as_json


def build(folder: Path) -> None:
    import torch

    torch.save({"damping": torch.tensor(0.25, dtype=torch.float64)}, folder / "trend.pt")


CASE = Case(
    model_file="trend.py",
    serialized_file="trend.pt",
    build=build,
    steps=[
        as_json({"series": {"values": [1, 2, 4, 7]}}),
        as_json({"series": {"values": [1e300, -1e300], "steps": 3}}),
        as_json({"series": {"values": [5], "steps": 1}}),
        as_json({"series": {"values": [1, 2], "steps": 0}}),
        as_json({"series": {}}, status=503),
        as_json([], status=503),
    ],
)
