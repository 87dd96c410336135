"""The default `image_classifier` with TorchScript: no labels, batches, explanations."""

import io
from pathlib import Path

from harness.gallery import Case, as_json, form, nearly, raw, together
from harness.pictures import gradient, plain

SMALL = [[[0.1 * (x + y) for x in range(6)] for y in range(6)] for _ in range(3)]


def build(folder: Path) -> None:
    import warnings

    import torch

    class Means(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(3, 5)

        def forward(self, x):
            return self.fc(x.mean(dim=[2, 3]))

    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(Means().eval(), torch.zeros(2, 3, 4, 4))
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer)
    (folder / "means.pt").write_bytes(buffer.getvalue())


CASE = Case(
    handler="image_classifier",
    serialized_file="means.pt",
    settings={"batchSize": 4, "maxBatchDelay": 200},
    build=build,
    needs=["torchvision", "captum"],
    steps=[
        raw(gradient(), read=nearly),
        together(*(raw(plain((red, 90, 20)), read=nearly) for red in (0, 80, 160, 240))),
        # Pictures of other shapes cannot share a batch; a list of numbers is taken as it is.
        as_json(SMALL, read=nearly),
        as_json(SMALL, read=nearly).explained(),
        # A plain field is bytes, which TorchServe takes for no class: docs/compatibility.md.
        form(("data", "a.json", "application/json", b"[[[0.5]], [[0.5]], [[0.1]]]")).explained(),
        form(
            ("data", "a.json", "application/json", b"[[[0.5]], [[0.5]], [[0.1]]]"),
            ("target", "t.json", "application/json", b"3"),
        ).explained(),
    ],
)
