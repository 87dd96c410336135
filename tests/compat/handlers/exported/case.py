"""A program of torch.export with a dynamic batch, loaded by the handler's own `initialize`."""

from pathlib import Path

from harness.gallery import Case, as_json, together


def build(folder: Path) -> None:
    import warnings

    import torch

    class Sums(torch.nn.Module):
        def forward(self, x):
            return torch.cumsum(x, dim=1) * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(Sums(), (torch.ones(2, 3),), dynamic_shapes={"x": {0: batch}})
        torch.export.save(program, folder / "sums.pt2")


CASE = Case(
    serialized_file="sums.pt2",
    settings={"batchSize": 8, "maxBatchDelay": 100},
    build=build,
    steps=[
        as_json({"values": [1, 2, 3]}),
        together(*(as_json({"values": [number, 1, 1]}) for number in range(4))),
        as_json({"values": [1, 2]}, status=503),
    ],
)
