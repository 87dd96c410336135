"""torch.compile as model-config.yaml asks for it; a model file without weights."""

from harness.gallery import Case, as_json

CASE = Case(
    model_file="model.py",
    settings={"pt2": {"compile": {"enable": True, "backend": "eager", "dynamic": True}}},
    steps=[as_json([1, -2, 3]), as_json([0.5])],
)
