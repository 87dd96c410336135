"""An entry point by name, `handler.py:rank`, in a module with several classes: a recommender."""

from pathlib import Path

from harness.gallery import Case, as_json, form, raw


def build(folder: Path) -> None:
    import torch

    torch.manual_seed(24)
    weights = {"users.weight": torch.randn(5, 3), "items.weight": torch.randn(7, 3)}
    torch.save(weights, folder / "ranker.pt")


CASE = Case(
    handler="handler.py",
    extra_files=["ranker.pt"],
    build=build,
    query="handler=handler.py:rank",
    steps=[
        as_json(0),
        raw(b"4"),
        form(("user", None, None, b"2")),
        raw(b"", path="/invocations?model_name={model}&user=3"),
        as_json(99, status=503),
        as_json("x", status=503),
    ],
)
