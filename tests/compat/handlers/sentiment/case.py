"""Texts in padded batches, a vocabulary as an extra file, labels beyond ASCII, settings of the handler."""

from pathlib import Path

from harness.gallery import Case, as_json, form, raw, text, together


def build(folder: Path) -> None:
    import torch

    torch.manual_seed(7)
    weights = {
        "embedding.weight": torch.randint(-8, 8, (12, 5)) / 8,
        "fc.weight": torch.randint(-8, 8, (2, 5)) / 8,
        "fc.bias": torch.zeros(2),
    }
    torch.save(weights, folder / "weights.bin")


CASE = Case(
    model_file="model.py",
    serialized_file="weights.bin",
    extra_files=["words.json", "index_to_name.json"],
    settings={"handler": {"longest": 6}},
    build=build,
    steps=[
        text("The film is good, great!"),
        text("gr\u00fcn"),
        text(""),
        as_json({"text": "awful"}),
        as_json({"other": "awful"}, status=503),
        as_json("not bad"),
        as_json(["a", "list"], status=503),
        raw(b"\xff\xfe", status=503),
        form(("data", None, None, b"good film"), ("note", None, None, b"x")),
        together(text("bad"), text("good good good")),
        text("a " * 500),
    ],
)
