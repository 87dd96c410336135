"""Sounds: WAV files in, CSV out, with response headers and a content type of the handler's own."""

from pathlib import Path

from harness.gallery import Case, form, raw
from harness.pictures import tone


def build(folder: Path) -> None:
    import torch

    torch.manual_seed(9)
    layers = torch.nn.Sequential(torch.nn.Linear(129, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    torch.save({f"layers.{k}": v for k, v in layers.state_dict().items()}, folder / "k.pth")


CASE = Case(
    model_file="network.py",
    serialized_file="k.pth",
    extra_files=["index_to_name.json"],
    build=build,
    steps=[
        raw(tone(440), "audio/wav"),
        raw(tone(1500, 0.5)),
        form(("audio", "a.wav", "audio/x-wav", tone(300))),
        raw(b"RIFF but broken", "audio/wav", status=503),
    ],
)
