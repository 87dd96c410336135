"""A subclass of VisionHandler that answers with pictures and their content type."""

from harness.gallery import Case, raw
from harness.pictures import gradient, square

CASE = Case(
    model_file="paint.py",
    settings={"handler": {"format": "png"}},
    needs=["torchvision", "captum"],
    steps=[raw(gradient()), raw(square(5, 5, 20), "image/png"), raw(b"none", status=503)],
)
