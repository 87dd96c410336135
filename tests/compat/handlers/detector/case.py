"""The default `object_detector` with a network that finds the bright parts of a picture."""

from harness.gallery import Case, form, raw, together
from harness.pictures import plain, square

CASE = Case(
    handler="object_detector",
    model_file="bright.py",
    extra_files=["index_to_name.json"],
    settings={"batchSize": 2, "maxBatchDelay": 200},
    needs=["torchvision", "captum"],
    steps=[
        raw(square(5, 7, 20)),
        raw(square(0, 0, 48)),
        raw(plain((0, 0, 0))),
        together(raw(square(1, 2, 3)), raw(square(30, 10, 12))),
        form(("data", "s.png", "image/png", square(10, 10, 10))),
        raw(square(5, 7, 20)).explained().but(status=503),
    ],
)
