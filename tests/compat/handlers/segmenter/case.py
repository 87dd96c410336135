"""The default `image_segmenter` with TorchScript that answers a dict, as torchvision's do."""

from pathlib import Path

from harness.gallery import Case, nearly, raw
from harness.pictures import gradient, plain


def build(folder: Path) -> None:
    import warnings

    import torch

    class Segments(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": self.conv(x)}

    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Segments().eval()).save(str(folder / "segments.pt"))


CASE = Case(
    handler="image_segmenter",
    serialized_file="segments.pt",
    build=build,
    needs=["torchvision", "captum"],
    steps=[
        raw(gradient(32, 32), read=nearly),
        raw(plain((9, 8, 7), 300, 20), read=nearly),
        raw(b"x", status=503),
    ],
)
