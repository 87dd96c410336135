"""Explanations of a handler's own: whom they ask, what they get, and that predictions go on."""

from pathlib import Path

from harness.gallery import Case, as_json, form, raw


def build(folder: Path) -> None:
    import torch

    weights = {
        "fc.weight": torch.tensor([[1.0, -2.0, 0.5], [0.0, 4.0, 1.0]]),
        "fc.bias": torch.ones(2),
    }
    torch.save(weights, folder / "net.pth")


VALUES = b'{"values": [1, 2, 3]}'

CASE = Case(
    model_file="net.py",
    serialized_file="net.pth",
    build=build,
    needs=["captum"],
    steps=[
        as_json([1, 2, 3]),
        as_json([1, 2, 3]).explained(),
        as_json({"values": [3, 2, 1]}).explained(),
        form(
            ("data", "v.json", "application/json", VALUES),
            ("target", "t.json", "application/json", b"1"),
        ).explained(),
        as_json({"values": [3, 2, 1]}),
        as_json([1, 2, 3], headers={"explain": "True"}),
        as_json([1, 2, 3], path="/invocations?model_name={model}", headers={"explain": "True"}),
        raw(b"", headers={"describe": "True"}),
        raw(b"", status=503).explained(),
    ],
)
