"""A module with `handle(data, context)` and `_service`; a module and a file beside it."""

from harness.gallery import Case, as_json, raw, text

CASE = Case(
    extra_files=["cleaning.py", "limits.json"],
    steps=[
        text("Some words, (and) more WORDS of a text."),
        raw(b"bytes"),
        raw(b""),
        as_json(7, status=503),
        as_json("after that"),
    ],
)
