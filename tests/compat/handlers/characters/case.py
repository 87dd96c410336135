"""A recurrent network that writes on, loaded by an override of `_load_pickled_model`; refusals."""

from pathlib import Path

from harness.gallery import Case, as_json, raw, text


def build(folder: Path) -> None:
    import torch

    torch.manual_seed(8)
    parts = {
        "embedding": torch.nn.Embedding(27, 8),
        "rnn": torch.nn.GRU(8, 16, batch_first=True),
        "fc": torch.nn.Linear(16, 27),
    }
    state = {
        f"{name}.{key}": value * 3
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }
    torch.save({"state": state, "epoch": 4}, folder / "writer.pth")


CASE = Case(
    model_file="network.py",
    serialized_file="writer.pth",
    build=build,
    steps=[
        as_json({"prompt": "once upon"}),
        as_json({"prompt": "a", "length": 0}),
        as_json({"prompt": "Z!", "length": 50}),
        as_json({"prompt": "", "length": 1}, status=503),
        as_json({}, status=400),
        text("once", status=400),
        raw(b"", status=400),
        as_json({"prompt": "a", "length": 51}, status=507),
    ],
)
