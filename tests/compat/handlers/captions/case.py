"""Several inputs in one request: forms of a picture and words, or both in JSON."""

import base64

from harness.gallery import Case, as_json, form
from harness.pictures import gradient, plain

PICTURE = ("picture", "p.png", "image/png", gradient(20, 10))
IN_JSON = base64.b64encode(plain((255, 128, 0), 3, 3)).decode()

CASE = Case(
    needs=["torchvision"],
    steps=[
        form(PICTURE, ("words", "w.json", "application/json", b'["red", "blue"]')),
        form(PICTURE, ("words", None, None, b'["green"]')),
        form(PICTURE, ("words", "w.txt", "text/plain", b'["green"]'), status=503),
        as_json({"picture": IN_JSON, "words": ["red", "green"]}),
        form(PICTURE, status=503),
        as_json({"picture": IN_JSON, "words": ["pink"]}, status=503),
    ],
)
