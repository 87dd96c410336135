from pathlib import Path

from harness.gallery import Case, as_json, together


def build(folder: Path) -> None:
    import torch

    weight = torch.tensor([[0.5, -1.0, 0.25], [-0.5, 1.0, 0.75]])
    state = {"layer.weight": weight, "layer.bias": torch.tensor([0.1, -0.1])}
    torch.save(state, folder / "weights.pt")


CASE = Case(
    model_file="model.py",
    serialized_file="weights.pt",
    extra_files=["index_to_name.json"],
    build=build,
    needs=["torch"],
    query="batch_size=4&max_batch_delay=50",
    steps=[
        as_json({"values": [1, 2, 3]}),
        as_json({"values": [3, -2, 0.5]}),
        together(*(as_json({"values": [n, 1, -n]}) for n in range(4))),
        as_json({"values": [1, 2]}, status=503),
        as_json({"other": 1}, status=503),
    ],
)
