from harness.gallery import Case, form, raw, text

CASE = Case(
    handler="handler.py:handle",
    steps=[
        text("one two three"),
        raw(b"as bytes now"),
        form(("data", None, None, b"from a form field")),
        form(("data", "a.txt", "text/plain", b"from a file")),
    ],
)
