"""Embedding and nearest neighbour, with an index as an extra file."""

from pathlib import Path

from harness.gallery import Case, as_json, raw, text


def build(folder: Path) -> None:
    import torch

    torch.manual_seed(12)
    torch.save({"bag.weight": torch.randn(64, 16)}, folder / "tower.pt")
    titles = ["red shoes", "blue shoes", "green hat", "red hat", "a long woollen scarf"]
    torch.save({"titles": titles}, folder / "index.pt")


CASE = Case(
    model_file="tower.py",
    serialized_file="tower.pt",
    extra_files=["index.pt"],
    build=build,
    steps=[
        as_json({"query": "red shoe", "k": 3}),
        as_json({"query": "hat", "k": 100}),
        text("scarf"),
        as_json({"k": 1}, status=503),
        raw(b"bytes are no text", status=503),
    ],
)
