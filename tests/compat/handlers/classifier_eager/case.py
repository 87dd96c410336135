"""The default `image_classifier` with an eager network, labels and every way to send a picture."""

import base64
from pathlib import Path

from harness.gallery import Case, as_json, form, nearly, raw, text
from harness.pictures import gradient, plain

PICTURE = gradient(96, 64)


def build(folder: Path) -> None:
    import importlib.util

    import torch

    spec = importlib.util.spec_from_file_location("m", Path(__file__).parent / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(1)
    torch.save(module.SmallNet().state_dict(), folder / "smallnet.pth")


CASE = Case(
    handler="image_classifier",
    model_file="model.py",
    serialized_file="smallnet.pth",
    extra_files=["index_to_name.json"],
    build=build,
    needs=["torchvision", "captum"],
    steps=[
        raw(PICTURE, read=nearly),
        raw(PICTURE, "image/png", read=nearly),
        raw(PICTURE, "", read=nearly),
        raw(plain((10, 200, 30)), read=nearly),
        form(("data", "a.png", "image/png", PICTURE), read=nearly),
        form(("data", None, None, PICTURE), read=nearly),
        text(base64.b64encode(PICTURE).decode(), read=nearly),
        as_json({"not": "a picture"}, status=503),
        as_json([[[0.5] * 8] * 8] * 3, read=nearly),
        raw(b"no picture", status=503),
        raw(b"", status=503),
        form(("file", "a.png", "image/png", PICTURE), status=503),
        raw(plain((0, 0, 255)), read=nearly),
    ],
)
