"""A backend that does not exist: the model stays as it is."""

from harness.gallery import Case, as_json

CASE = Case(
    handler="../compiled/handler.py",
    model_file="../compiled/model.py",
    settings={"pt2": "warp_drive"},
    steps=[as_json([1, -2, 3])],
)
